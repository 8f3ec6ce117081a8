"""The fewest runs that determine every share of every operator, where the CPU is measured.

A share of the CPU takes a time that is affine in its columns, and so is what is gathered in its
elements. A line has two unknowns, and a run executes an operator once: one with several shares is
split at two of them, in two runs. They are the least and the largest share, so that every other
lies between. Of what is gathered the whole tensor's transfer is known, and one part more makes a
line of it.

What a split makes is gathered where it is read. A tensor with one reader, which may be on either
side, shows one gather a run: two runs again. Where neither is the case, one run may do; which, if
any, is asked of an integer programme. So the number is the least (`PartRuns.certificate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pimloop.partitioner.graph as cg
from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.partitioner.programme import Programme
from pimloop.partitioner.split_names import SplitName

#: The device that computes the columns that the PIM does not, and the PIM.
DEVICES = ("cpu_parallel", "pim")

#: What a run shows of a split operator's result: the tensor, and the memory it is gathered in.
Gather = tuple[str, str]


@dataclass(frozen=True)
class PartRuns:
    """Runs that split operators, as few as possible."""

    runs: tuple[Mapping[str, str], ...]  # operator id -> device or split
    lower_bound: int  # no fewer runs determine every share
    certificate: str  # why


def share_name(columns: int, total: int) -> str:
    """Return what an assignment calls a split where the PIM computes so many of all columns.

    >>> share_name(512, 2048)
    'cpu_parallel+pim 1/4'
    """
    share = Fraction(columns, total)
    return str(SplitName(DEVICES, share.numerator, share.denominator))


def plan_part_runs(
    operators: cg.Graph, offered: Mapping[str, Sequence[int]], totals: Mapping[str, int]
) -> PartRuns:
    """Return the runs.

    Parameters
    ----------
    operators
        The model as the partitioner sees it.
    offered
        Columns that the PIM may be given, by operator id, in ascending order.
    totals
        All columns of these operators.
    """
    if not offered:
        return PartRuns((), 0, "no operator can be split")
    several = [name for name, columns in offered.items() if len(columns) > 1]
    if several:
        reason = (
            f"operator '{several[0]}' has {len(offered[several[0]])} shares: its time is a line in"
            " the columns, which two of them determine, and a run has one"
        )
    else:
        on_pim = _single_run(operators, offered)
        if on_pim is not None:
            run = _run(operators, offered, totals, 0, on_pim)
            return PartRuns((run,), 1, "every operator has one share")
        reason = "no run gathers every result in every memory where it may be read"
    able = {operator.id for operator in operators.operators if DEVICES[1] in operator.devices}
    runs = (
        _run(operators, offered, totals, 0, frozenset()),
        _run(operators, offered, totals, -1, frozenset(able)),
    )
    return PartRuns(runs, len(runs), reason)


def _run(
    operators: cg.Graph,
    offered: Mapping[str, Sequence[int]],
    totals: Mapping[str, int],
    which: int,
    on_pim: frozenset[str],
) -> dict[str, str]:
    """Return a run with one share of each operator, the others on the CPU or in `on_pim`."""
    return {
        operator.id: share_name(offered[operator.id][which], totals[operator.id])
        if operator.id in offered
        else DEVICES[1 if operator.id in on_pim else 0]
        for operator in operators.operators
    }


def pim_columns(
    totals: Mapping[str, int], offered: Mapping[str, Sequence[int]], run: Mapping[str, str]
) -> dict[str, int]:
    """Return how many columns the PIM computes in a run of each operator that may be split."""
    columns = {}
    for name in offered:
        split = SplitName.of(run[name])
        assert split is not None
        columns[name] = totals[name] * split.share // split.shares
    return columns


def gathers(
    operators: cg.Graph, offered: Mapping[str, Sequence[int]], run: Mapping[str, str] | None = None
) -> frozenset[Gather]:
    """Return which results of split operators a run gathers where; without a run: any run."""
    needed = set()
    for tensor in operators.tensors:
        if tensor.producer not in offered:
            continue
        if tensor.output:
            needed.add((tensor.id, HOST_MEMORY))
        for memories in _read_in(operators, offered, tensor, run):
            needed.update((tensor.id, memory) for memory in memories)
    return frozenset(needed)


def _read_in(
    operators: cg.Graph,
    offered: Mapping[str, Sequence[int]],
    tensor: cg.Tensor,
    run: Mapping[str, str] | None,
) -> Iterator[tuple[str, ...]]:
    """Yield, for each reader of a tensor, the memories in which it may read it."""
    for name in tensor.consumers:
        if name in offered:
            yield HOST_MEMORY, PIM_MEMORY
        elif run is not None:
            yield (operators.memory_of[run[name]],)
        elif DEVICES[1] in operators.operators[operators.index[name]].devices:
            yield HOST_MEMORY, PIM_MEMORY
        else:
            yield (HOST_MEMORY,)


def _single_run(operators: cg.Graph, offered: Mapping[str, Sequence[int]]) -> frozenset[str] | None:
    """Return the operators on the PIM of a run that gathers everything; None: there is none."""
    programme = Programme()
    variables: dict[str, int] = {}
    for tensor in operators.tensors:
        if tensor.producer not in offered:
            continue
        free = [name for name in tensor.consumers if name not in offered]
        able = [n for n in free if DEVICES[1] in operators.operators[operators.index[n]].devices]
        if len(free) < len(tensor.consumers) or not able:
            continue  # a split reader has it gathered in both; nobody may read it on the PIM
        terms = []
        for name in able:
            if name not in variables:
                variables[name] = programme.variable(integer=True)
            terms.append((variables[name], 1.0))
        stays = tensor.output or len(able) < len(free)
        programme.row(terms, 1, len(able) if stays else len(able) - 1)
    if not variables:
        return frozenset()
    answer = programme.solve()
    if answer.x is None:
        return None
    return frozenset(name for name, variable in variables.items() if answer.x[variable] > 0.5)
