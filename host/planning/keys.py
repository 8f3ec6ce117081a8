"""What costs and results depend on, as short texts: the keys of the cost store and of states.

A key has the content of the code that makes the number (the import closure of the modules below,
`pimloop.host.store.closure`), the values it reads (platform, options), the model, versions of
packages that decide results, and for what is timed here this machine. Nothing else: pages, tables
and commands are in no key.
"""

from __future__ import annotations

import hashlib
import platform as machine
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from pimloop.host.common.machine import cores, processor
from pimloop.host.execution.options import Options
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.stored import is_turned
from pimloop.host.platforms.platform import Platform
from pimloop.host.store.closure import code_key
from pimloop.sim.device.config import SimConfig, build_spec
from pimloop.sim.errors import SimError
from pimloop.sim.verilator.build import build_key_without_tools
from pimloop.sim.verilator.toolchain import find_toolchain

_LENGTH = 24  # hexadecimal digits kept of a SHA-256


@dataclass(frozen=True)
class Code:
    """The code that makes a kind of numbers, as `pimloop.host.store.closure.code_key` takes it."""

    entries: tuple[str, ...] = ()  # modules that count with everything they import
    outside: tuple[str, ...] = ()  # modules and packages that have no part in the numbers
    alone: tuple[str, ...] = ()  # modules that count without what they import

    def key(self) -> str:
        """Return the hash of the code as it is on disk when it is asked for first."""
        return code_key(self.entries, self.outside, self.alone)


#: Times of CPU operators from the platform's model. `pimloop.host.execution.times` and
#: `pimloop.host.platforms.platform` call it.
CPU_MODEL = Code(
    ("pimloop.host.cpu.model",),
    alone=("pimloop.host.execution.times", "pimloop.host.platforms.platform"),
)

#: Times of CPU operators and of conversions measured here; conversions follow from the assignments
#: of the profile runs.
CPU_MEASURED = Code(
    (
        "pimloop.host.cpu.profile", "pimloop.host.cpu.timing", "pimloop.host.cpu.segments",
        "pimloop.host.cpu.operators", "pimloop.host.common.golden",
        "pimloop.partitioner.profile.plan", "pimloop.host.operators.matching",
    ),
    outside=("pimloop.rtl",),
    alone=(
        "pimloop.host.execution.coexecution", "pimloop.host.execution.cpu_times",
        "pimloop.host.execution.execution", "pimloop.host.execution.executor",
        "pimloop.host.execution.memories", "pimloop.host.execution.offload",
        "pimloop.host.execution.parts", "pimloop.host.execution.result",
        "pimloop.host.execution.runner", "pimloop.host.execution.session_segments",
        "pimloop.host.execution.times",
        "pimloop.host.planning.balance", "pimloop.host.planning.graph",
        "pimloop.host.planning.part_runs", "pimloop.host.planning.part_times",
        "pimloop.host.planning.profiling",
    ),
)  # fmt: skip

#: Cycles of PIM operators and copies: capabilities, addresses, descriptors, device. What the CPU
#: computes, which policy chose a placement and how results are checked changes no cycle.
PIM = Code(
    ("pimloop.host.execution.runner", "pimloop.host.execution.times"),
    outside=(
        "pimloop.host.cpu", "pimloop.host.plugins.registry", "pimloop.host.planning.policies",
        "pimloop.host.execution.accuracy", "pimloop.host.execution.cpu_times",
        "pimloop.host.execution.reference", "pimloop.host.execution.session_segments",
        "pimloop.host.execution.verification", "pimloop.partitioner",
    ),
)  # fmt: skip

#: What energies are computed from, beside what the counters of lists depend on.
COUNTS = Code(
    alone=(
        "pimloop.host.energy.forms",
        "pimloop.host.planning.counts",
        "pimloop.host.planning.energies",
    )
)

#: Times of transfers from the platform's model: a fixed part and a part for each element.
TRANSFER_MODEL = Code(
    alone=(
        "pimloop.host.execution.coexecution",
        "pimloop.host.execution.execution",
        "pimloop.host.execution.executor",
        "pimloop.host.execution.memories",
        "pimloop.host.execution.offload",
        "pimloop.host.execution.times",
        "pimloop.host.platforms.platform",
    )
)

#: An execution under a given assignment, as `pimloop.host.pipeline.state` keeps it.
EXECUTION = Code(
    (
        "pimloop.host.execution.runner",
        "pimloop.host.pipeline.record",
        "pimloop.host.pipeline.state",
    ),
    outside=(
        "pimloop.host.plugins.registry", "pimloop.host.planning.policies",
        "pimloop.host.store.cost_store",
    ),
)  # fmt: skip

#: A report, from the model's name on (`pimloop.host.pipeline.sweep.run_point`).
REPORT = Code(("pimloop.host.pipeline.sweep",))

#: Packages whose version decides results.
PACKAGES = ("highspy", "ml_dtypes", "networkx", "numpy", "onnx", "onnxruntime", "scipy")


def digest(*parts: object) -> str:
    """Return a short hash of the texts of `parts`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:_LENGTH]


def device_key(platform: Platform, options: Options, before: Sequence[str] = ()) -> str:
    """Return what the cycles of an operator depend on, apart from the model.

    The sections of the platform that describe device, host memory and driver; the code of
    capabilities, placement, driver and device; the simulator's sources and flags, its lanes, and
    the tools that build it.

    Parameters
    ----------
    platform, options
        Of the run.
    before
        `model_key` of the models that leave constants on the device.
    """
    sections = (
        platform.device, platform.dram, platform.host_memory, platform.driver,
        platform.capabilities_section,
    )  # fmt: skip
    return digest(
        "device", sections, PIM.key(), simulator_key(platform, options), options.flavour, *before
    )


def simulator_key(platform: Platform, options: Options) -> str:
    """Return what the simulator of a platform is made of: sources, parameters, flags and tools."""
    if options.backend == "model":
        return "model"
    try:
        tools = find_toolchain().identity()
    except SimError:  # of a sweep whose points run elsewhere: they say what is missing
        tools = "none"
    parameters = platform.rtl_parameters()
    config = SimConfig(params=parameters, flavour=options.flavour, coverage=None)
    return digest(build_key_without_tools(build_spec(config)), tools)


def cpu_key(feeds: Mapping[str, Array], platform: Platform, options: Options) -> str:
    """Return what the time of a CPU operator depends on, apart from the model and the device."""
    if platform.cpu_model() is not None:
        return digest("cpu modelled", platform.cpu, CPU_MODEL.key())
    return digest("cpu measured", _measured_key(feeds, platform, options))


def transfer_key(
    feeds: Mapping[str, Array], platform: Platform, options: Options, before: Sequence[str] = ()
) -> str:
    """Return what the time of a transfer depends on, apart from the model."""
    if platform.driver.conversion == "modelled":
        return digest(
            "transfer modelled", platform.driver, platform.transfers, TRANSFER_MODEL.key()
        )
    measured = _measured_key(feeds, platform, options)
    return digest(
        "transfer measured", device_key(platform, options, before), platform.transfers, measured
    )


def counts_key(platform: Platform, options: Options, before: Sequence[str] = ()) -> str:
    """Return what is counted of lists depends on, apart from the model; parameters: `device_key`.

    Energies follow from it anew each time, by the constants of the platform.
    """
    return digest("counts", device_key(platform, options, before), COUNTS.key())


def session_device_key(platform: Platform, name: str) -> str:
    """Return what the times of a plug-in's device depend on: its section and its file."""
    module = sys.modules[type(platform.devices[name]).__module__]
    code = Path(module.__file__).read_bytes() if module.__file__ else module.__name__.encode()
    return digest("session device", name, platform.sections[name], hashlib.sha256(code).hexdigest())


def _measured_key(feeds: Mapping[str, Array], platform: Platform, options: Options) -> str:
    return digest(
        CPU_MEASURED.key(), machine_key(), inputs_key(feeds), platform.capabilities_section,
        options.rounds,
    )  # fmt: skip


def model_key(graph: Graph) -> str:
    """Return a hash of everything that a model is.

    Operators with their attributes, the bodies of those that are control flow, shapes, types, the
    values of the constants, and which constants are one array under several names (the device has
    it once).
    """
    content = hashlib.blake2b(digest_size=16)
    for node in graph.nodes:
        content.update(node.proto().SerializeToString(deterministic=True) + b"\n")
    for body in graph.functions.values():
        content.update(body.SerializeToString(deterministic=True) + b"\n")
    shapes = [(name, info.shape, str(info.dtype)) for name, info in graph.tensors.items()]
    versions = sorted(graph.opsets.items())
    content.update(repr((shapes, graph.inputs, graph.outputs, versions)).encode())
    content.update(repr((graph.name, graph.sequence_length, graph.input_ranges)).encode())
    first: dict[int, str] = {}
    for name, value in graph.constants.items():
        shared = first.setdefault(id(value), name)
        content.update(f"\n{name} {shared}\n".encode())
        if shared == name:
            _update(content, value)
    return content.hexdigest()


def inputs_key(feeds: Mapping[str, Array]) -> str:
    """Return a hash of the values of a model's inputs."""
    content = hashlib.blake2b(digest_size=16)
    for name, value in feeds.items():
        content.update(f"\n{name}\n".encode())
        _update(content, value)
    return content.hexdigest()


def _update(content: hashlib.blake2b, value: Array) -> None:
    content.update(f"{value.shape} {value.dtype}\n".encode())
    if value.dtype.hasobject:
        content.update(repr(value.tolist()).encode())
    else:
        if is_turned(value):  # what it is a view of lies in one piece
            content.update(b"turned\n")
            value = value.T
        content.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)


def run_key(
    model: str,
    feeds: Mapping[str, Array],
    platform: Platform,
    options: Options,
    before: Sequence[str] = (),
) -> str:
    """Return what an execution's result depends on, apart from the assignment.

    Parameters
    ----------
    model
        `model_key` of the model.
    before
        Those of the models that leave constants on the device.
    """
    return digest(
        "run", model, inputs_key(feeds), platform, device_key(platform, options, before),
        EXECUTION.key(), options.backend, options.rounds, machine_key(),
    )  # fmt: skip


def report_key(model: str, platform: Platform, options: Options) -> str:
    """Return what the numbers of a report depend on.

    Parameters
    ----------
    model
        A text for the model's content and its inputs.
    """
    return digest(
        "report", model, platform, simulator_key(platform, options), REPORT.key(), versions(),
        options.backend, options.flavour, options.objective, options.shares, options.rounds,
        options.time_limit_s,
        *(session_device_key(platform, name) for name in platform.sections),
    )  # fmt: skip


def is_measured(platform: Platform) -> bool:
    """Return whether times on a platform are those of the machine where it runs."""
    return platform.cpu_model() is None or platform.driver.conversion == "measured"


@cache
def machine_key() -> str:
    """Return what times measured here depend on: processor, cores, the packages that work."""
    return digest("machine", processor(), cores(), versions())


@cache
def versions(packages: Collection[str] = PACKAGES) -> str:
    """Return the versions of Python and of `packages` as one text."""
    versions = [f"python {machine.python_version()}"]
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} unknown")
    return ", ".join(versions)
