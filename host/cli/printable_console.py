"""A rich console that prints names as characters; it is imported where something is printed."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.segment import Segment

from pimloop.host.common.text import printable


class PrintableConsole(Console):
    """A console whose own control sequences, colours and cursor, are the only ones."""

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        return super()._render_buffer(
            segment if segment.control else Segment(printable(segment.text), segment.style)
            for segment in buffer
        )
