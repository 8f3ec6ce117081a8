"""Plug-ins: policies, platforms, devices and models of other packages, found by entry points.

| group | an entry is |
|---|---|
| `pimloop.policies` | a function `policy(costs: CostGraph) -> Mapping[operator id, device]` |
| `pimloop.platforms` | a package (or a path) whose folder holds platform files, `<name>.toml` |
| `pimloop.devices` | a `pimloop.SessionDevice` |
| `pimloop.models` | a function `model(options: LoadOptions) -> Graph`, or an .onnx file's path |

A plug-in is loaded when its name is asked for, or to list it; one that does not load is an error
that names it, and leaves the others alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pimloop.errors import PimloopError

if TYPE_CHECKING:
    from pimloop.host.models.graph import Graph
    from pimloop.host.models.loader import LoadOptions

log = logging.getLogger(__name__)

POLICIES = "pimloop.policies"
PLATFORMS = "pimloop.platforms"
MODELS = "pimloop.models"
DEVICES = "pimloop.devices"


class PluginError(PimloopError):
    """A plug-in does not load or is not what its group asks for."""


@dataclass(frozen=True)
class Plugin:
    """One entry point."""

    group: str
    name: str
    value: str  # "package.module:object"
    package: str  # the distribution it comes from

    def load(self) -> Any:
        """Import the object.

        Raises
        ------
        PluginError
            When that fails; the message names the plug-in, its package and the reason.
        """
        try:
            return metadata.EntryPoint(self.name, self.value, self.group).load()
        except Exception as error:  # whatever a stranger's module raises when imported
            raise PluginError(
                f"plug-in '{self.name}' ({self.group}, package {self.package}) cannot be loaded"
                f" from {self.value}: {type(error).__name__}: {error}; mend or uninstall the"
                " package"
            ) from error


def plugins(group: str) -> dict[str, Plugin]:
    """Return the plug-ins of a group by name; of two with one name the first installed."""
    by_name: dict[str, Plugin] = {}
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist is not None else "unknown"
        if entry.name in by_name:
            log.warning(
                "plug-in '%s' (%s) of package %s is hidden by the one of package %s",
                entry.name, group, package, by_name[entry.name].package,
            )  # fmt: skip
            continue
        by_name[entry.name] = Plugin(group, entry.name, entry.value, package)
    return by_name


def find_policy(name: str) -> Callable[..., Any]:
    """Return the function of a policy plug-in.

    Raises
    ------
    PluginError
        When there is none of that name, or it does not load.
    """
    installed = plugins(POLICIES)
    if name not in installed:
        known = ", ".join(installed) or "none"
        raise PluginError(f"unknown policy '{name}'; policies of installed plug-ins: {known}")
    plugin = installed[name]
    policy = plugin.load()
    if not callable(policy):
        raise PluginError(
            f"plug-in '{name}' ({POLICIES}, package {plugin.package}): {plugin.value} is"
            f" {type(policy).__name__}, not a function"
        )
    return policy  # type: ignore[no-any-return]


def platform_files() -> tuple[dict[str, Path], list[str]]:
    """Return the platform files of plug-ins by name, and a message for each broken plug-in."""
    files: dict[str, Path] = {}
    broken: list[str] = []
    for plugin in plugins(PLATFORMS).values():
        try:
            folder = _folder(plugin)
        except PluginError as error:
            broken.append(str(error))
            continue
        for path in sorted(folder.glob("*.toml")):
            files.setdefault(path.stem, path)
    return files, broken


def _folder(plugin: Plugin) -> Path:
    value = plugin.load()
    if isinstance(value, ModuleType):
        (folder, *_) = [Path(place) for place in getattr(value, "__path__", ())] or [
            Path(str(value.__file__)).parent
        ]
    elif isinstance(value, str | Path):
        folder = Path(value)
    else:
        raise PluginError(
            f"plug-in '{plugin.name}' ({PLATFORMS}, package {plugin.package}): {plugin.value} is"
            f" {type(value).__name__}, neither a package nor a path"
        )
    if not folder.is_dir():
        raise PluginError(
            f"plug-in '{plugin.name}' ({PLATFORMS}, package {plugin.package}): there is no folder"
            f" {folder}"
        )
    return folder


def find_model(name: str) -> Callable[..., Any] | Path | None:
    """Return what a model plug-in of that name offers; None when there is none.

    Raises
    ------
    PluginError
        When it does not load, or offers something else.
    """
    plugin = plugins(MODELS).get(name)
    if plugin is None:
        return None
    value: Callable[..., Any] | str | Path = plugin.load()
    if isinstance(value, str | Path):
        return Path(value)
    if not callable(value):
        raise PluginError(
            f"plug-in '{name}' ({MODELS}, package {plugin.package}): {plugin.value} is"
            f" {type(value).__name__}, neither a function nor the path of an .onnx file"
        )
    return value


def listed(group: str) -> Mapping[str, str]:
    """Return name to package of a group's plug-ins, none of them loaded."""
    return {name: plugin.package for name, plugin in plugins(group).items()}


def load_model(name: str, options: LoadOptions) -> Graph:
    """Return a model as `pimloop.host.models.loader.load_model` does, or that of a plug-in.

    A built-in model is not hidden by a plug-in's.

    Raises
    ------
    PimloopError
        When there is no such model, or its plug-in fails.
    """
    from pimloop.host.models import loader
    from pimloop.host.models.built_in import BUILT_IN
    from pimloop.host.models.graph import Graph
    from pimloop.host.models.quantize.products import quantized

    model = None if name in BUILT_IN else find_model(name)
    if model is None:
        return loader.load_model(name, options)
    if isinstance(model, Path):
        return loader.load_model(str(model), options)
    try:
        graph = model(options)
    except PimloopError:
        raise
    except Exception as error:  # whatever a stranger's code raises
        raise PluginError(
            f"plug-in '{name}' ({MODELS}) failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(graph, Graph):
        raise PluginError(
            f"plug-in '{name}' ({MODELS}) returned {type(graph).__name__}, not a Graph of"
            " pimloop.host.models"
        )
    return quantized(graph, options.quantize)
