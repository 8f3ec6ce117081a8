"""The board's published CPU times as samples for `pimloop.host.calibration.calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pimloop.host.board.data import MODELS, class_costs, class_graph, class_name, load_board
from pimloop.host.calibration.calibrate import Sample
from pimloop.host.cpu.model import CpuDevice
from pimloop.host.cpu.work import operator_work

_DEVICES: tuple[CpuDevice, ...] = ("cpu_serial", "cpu_parallel")


def board_samples(models: Sequence[str] = MODELS) -> list[Sample]:
    """Return a sample for each class of operators, length and CPU device of the board's models."""
    samples = []
    for name in models:
        board = load_board(name)
        for length in board.measurements:
            works = []
            for template in board.classes:
                graph = class_graph(template, length)
                works.append(operator_work(graph, graph.nodes[0]))
            for device in _DEVICES:
                times = class_costs(board, length, device)
                for template, work, members in zip(board.classes, works, times, strict=True):
                    samples.append(
                        Sample(
                            work=work,
                            device=device,
                            us=median(members),
                            count=len(members),
                            name=class_name(template, length),
                            model=name,
                            length=length,
                        )
                    )
    return samples
