"""The part of docs/paper.md that comes from whole runs: co-execution, executed and checked.

Each row is one `pimloop sim MODEL --seq N --policy coexec` on the simulated board, read from its
report.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.board.data import BOARD_PLATFORM, BUILT_IN, MODELS, TITLES, published_totals
from pimloop.host.board.paper import printed
from pimloop.host.board.paper.data import table, title
from pimloop.partitioner.percent import percent
from pimloop.partitioner.place.solve import COEXEC

#: Lengths that are run.
RUN_LENGTHS = (8, 16, 32, 64)


@dataclass(frozen=True)
class Run:
    """What one run says of two of its schedules; times in microseconds."""

    model: str  # as the paper's data call it
    length: int
    optimal_us: float  # executed, whole operators
    predicted_us: float  # co-execution
    executed_us: float
    without_head_us: float  # the same up to the end of what the board's graph has
    split: int  # operators computed by both devices
    checked: int  # results of the PIM in that schedule, compared with the golden model
    wrong: int

    @property
    def published_us(self) -> float | None:
        """The published optimum; None where none ships with pimloop."""
        totals = published_totals(BUILT_IN[self.model], self.length)
        return None if totals is None else totals["optimal"]


def read_run(path: Path) -> Run:
    """Return what a report.json says.

    Raises
    ------
    PimloopError
        When the file is no report of one of the paper's models with the policy on the board's
        platform.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        names = {ours: model for model, ours in BUILT_IN.items()}
        if report["platform"] != BOARD_PLATFORM or report["device"] != "sim":
            raise PimloopError(f"{path}: not a run on the simulated {BOARD_PLATFORM}")
        if report["model"] not in names:
            raise PimloopError(f"{path}: model {report['model']!r} is none of {', '.join(names)}")
        schedules = report["schedules"]
        if COEXEC not in schedules:
            raise PimloopError(f"{path}: run without co-execution; add --policy {COEXEC}")
        return _run(names[report["model"]], report)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PimloopError(f"{path}: not the report.json of a run: {error!r}") from error


def _run(model: str, report: Mapping[str, Any]) -> Run:
    schedules = report["schedules"]
    both = schedules[COEXEC]
    without_head_us = both["executed_us"]
    if model == "gpt2":
        head = report["graph"]["nodes"][-1]["id"]
        without_head_us = max(
            step["start_us"] + step["us"]
            for step in both["timeline"]
            if step["node"] not in (None, head)
        )
    return Run(
        model=model,
        length=report["sequence_length"],
        optimal_us=schedules["optimal"]["executed_us"],
        predicted_us=both["predicted_us"],
        executed_us=both["executed_us"],
        without_head_us=without_head_us,
        split=len(both["splits"]),
        checked=both["verification"]["pim_results_checked"],
        wrong=len(both["verification"]["pim_results_wrong"]),
    )


def row(run: Run) -> tuple[str, ...]:
    """Return the row of a run."""
    published = run.published_us
    bits = "exact" if run.wrong == 0 else f"{run.wrong} WRONG"
    return (
        title(run.model, run.length),
        "-" if published is None else f"{published:,.0f}",
        f"{run.optimal_us:,.1f}",
        f"{run.predicted_us:,.1f}",
        f"{run.executed_us:,.1f}",
        percent(run.executed_us / run.predicted_us - 1, 4, signed=True),
        f"{run.split}",
        f"{run.checked:,} {bits}",
        "-" if published is None else f"{published / run.executed_us:.2f}",
        "=" if run.without_head_us == run.executed_us else f"{run.without_head_us:,.1f}",
        "-" if published is None else f"{published / run.without_head_us:.2f}",
        f"{run.optimal_us / run.executed_us:.2f}",
    )


def runs_part(runs: Iterable[Run]) -> str:
    """Return the section, one row for each run."""
    order = sorted(runs, key=lambda run: (MODELS.index(run.model), run.length))
    header = (
        "",
        "published optimum",
        "optimum, executed",
        "co-execution, predicted",
        "co-execution, executed",
        "difference",
        "split operators",
        "PIM results",
        "times faster than published",
        "executed, without the head",
        "times faster than published, without the head",
        "times faster than our optimum",
    )
    predictions = [
        (TITLES[model], percent(printed.PREDICTION[model], 2), _worst(order, model))
        for model in MODELS
    ]
    return f"""## Co-execution on the simulated board, in microseconds

`pimloop sim MODEL --seq N --policy coexec` for `{"`, `".join(BUILT_IN.values())}`: pimloop's own
graphs, random weights, platform `{BOARD_PLATFORM}`. Executed: the descriptor lists of the PIM are
simulated, equal ones once (docs/cache.md), and every result is compared with the golden model bit
for bit; times are simulated (PIM) and modelled (CPU, transfers), so they are exact and repeat. The
published optimum was measured on the board, by its authors. Their GPT-2 has no language-model head;
pimloop's has one, a product with 50,257 columns that comes last, so the time without it is the end
of the operator before. Their graph computes shapes, too, which pimloop folds away. The board's
driver repacks rows of 768 columns at each call, which pimloop's does not need (docs/board.md): that
is a part of "times faster than published", and "times faster than our optimum" is free of it. At 64
tokens no published optimum ships with pimloop, so there ours stands alone.

{table(header, [row(run) for run in order])}

{_not_run(order)}

### Predicted against run

The largest difference between the predicted and the executed time of the schedules above. On the
board it holds what varies from run to run; here both times come from the same models, so what is
left is rounding, and a larger difference would be a fault in the execution.

{table(("", "published", "simulated"), predictions)}
"""


def _not_run(runs: Sequence[Run]) -> str:
    """Return a sentence on the cells that have no run."""
    done = {(run.model, run.length) for run in runs}
    missing = [title(m, n) for m in MODELS for n in RUN_LENGTHS if (m, n) not in done]
    if not missing:
        return "Every cell has been run."
    return f"Not run for this page: {'; '.join(missing)}."


def _worst(runs: Iterable[Run], model: str) -> str:
    differences = [
        abs(run.executed_us / run.predicted_us - 1) for run in runs if run.model == model
    ]
    return percent(max(differences), 4) if differences else "-"
