"""Decoders of the family whose layers attend to a window, in all layers or in late ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.models.decoders.family import RotaryDecoder
from pimloop.host.models.decoders.reading import late_windows


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowedDecoder(RotaryDecoder):
    """A decoder whose layers all have the window that `sliding_window` names."""

    def windowed(self, data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
        """Return which layers have a window, without `layer_types`: all, but for null."""
        return (data.get("sliding_window", self.window) is not None,) * layers


@dataclass(frozen=True, kw_only=True, eq=False)
class LateWindowsDecoder(RotaryDecoder):
    """A decoder that has windows where `use_sliding_window` asks for them, in its later layers."""

    chosen_windows: bool = True

    def windowed(self, data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
        """Return which layers have a window, without `layer_types`."""
        return late_windows(data, layers, where)

    def check_kinds(self, data: Mapping[str, Any], chosen: tuple[bool, ...], where: str) -> None:
        """Raise PimloopError when `layer_types` chooses windows that the file switches off."""
        if any(chosen) and not data.get("use_sliding_window"):
            raise PimloopError(
                f"{where}: layer_types has a window in {sum(chosen)} of {len(chosen)} layers and"
                " use_sliding_window is false or missing; set it to true, or change layer_types"
            )
