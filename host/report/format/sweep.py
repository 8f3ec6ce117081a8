"""sweep.json: its keys, and reading any version of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict, cast

from pimloop.errors import PimloopError
from pimloop.partitioner.typed_json import (
    Count,
    JsonError,
    Quantity,
    Us,
    advice,
    check,
    doc,
    read_json,
    type_of_version,
)

#: Version that `pimloop.host.pipeline.sweep_files` writes.
FORMAT: Final = "pimloop-sweep/2"

FILE_NAME = "sweep.json"


class RowCore(TypedDict):
    """Keys of a row that the versions have alike."""

    model: Annotated[str, doc("Name of the model.")]
    sequence_length: Annotated[Count | None, doc("Tokens; null: the model has no such axis.")]
    platform: Annotated[str, doc("Name of the platform.")]
    settings: Annotated[dict[str, str], doc("Values of the platform that `--set` changed, by key.")]
    schedule: Annotated[str, doc("Name of the schedule: `optimal`, a baseline, a policy.")]
    predicted_us: Annotated[
        Us | None, doc("Time by the costs of the profile, microseconds; null: there are no costs.")
    ]
    executed_us: Annotated[
        Us | None,
        doc(
            "Time of the execution, microseconds: simulated PIM cycles, and CPU times measured or"
            " modelled, as the point's report.json says; null: no clock."
        ),
    ]
    optimal: Annotated[bool, doc("Whether the plan is proved the fastest by the costs.")]
    lower_bound_us: Annotated[
        Us | None, doc("No placement takes less by the costs, microseconds; null: no bound.")
    ]
    cpu_times_disturbed: Annotated[
        bool, doc("Whether other work disturbed CPU times: they are not trusted.")
    ]


_Axes = Annotated[dict[str, Count], doc("Lengths of named axes of an .onnx file's inputs.")]
_Shapes = Annotated[dict[str, list[Count]], doc("Shapes of an .onnx file's inputs, by name.")]
_Inputs = Annotated[str | None, doc("File of the inputs' values; null: they were random.")]

_Shares = Annotated[
    Count | None,
    doc(
        "Steps in which products were shared between CPU and PIM (`--shares`; 1: none was); null"
        " or absent: the default."
    ),
]


_Batch = Annotated[Count | None, doc("Sequences at once; null or absent: one.")]
_Quantize = Annotated[
    str | None,
    doc("Integer weights, `w8` or `w4`; null or absent: weights as they are stored."),
]


class SweepRow1(RowCore):
    """A schedule of a point, of version 1."""

    axes: NotRequired[_Axes]
    shapes: NotRequired[_Shapes]
    inputs: NotRequired[_Inputs]


class SweepEnergy(TypedDict, total=False):
    """The energy of a schedule, where it has one."""

    energy_j: Annotated[Quantity, doc("Nominal energy, joules, modelled; absent: no energies.")]
    energy_delay_js: Annotated[
        Quantity,
        doc("The same times `executed_us`, joule seconds; absent: the CPU is not in it."),
    ]
    energy_with_cpu: Annotated[bool, doc("Whether the CPU is in `energy_j`.")]


class SweepRow(RowCore, SweepEnergy):
    """A schedule of a point."""

    axes: _Axes
    shapes: _Shapes
    inputs: _Inputs
    shares: NotRequired[_Shares]
    batch: NotRequired[_Batch]
    quantize: NotRequired[_Quantize]


class SweepPoint(TypedDict):
    """A run of the grid."""

    point: Annotated[str, doc("Model, lengths, platform and settings, in words.")]
    reused: Annotated[bool, doc("Whether it was taken from an earlier sweep.")]
    passed: Annotated[bool | None, doc("Whether its results were right; null: it could not run.")]
    error: Annotated[str | None, doc("Why it could not run; null: it ran.")]


class SweepCore(TypedDict):
    """Keys of the file that the versions have alike."""

    points: Annotated[list[SweepPoint], doc("Every run of the grid, in its order.")]


class Sweep1(SweepCore):
    """A grid of runs (`pimloop-sweep/1`)."""

    format: Literal["pimloop-sweep/1"]
    rows: Annotated[list[SweepRow1], doc("Every schedule of every point that ran.")]


class Sweep(SweepCore):
    """A grid of runs (`pimloop-sweep/2`)."""

    format: Literal["pimloop-sweep/2"]
    rows: Annotated[list[SweepRow], doc("Every schedule of every point that ran.")]


#: The type of every version that is read.
VERSIONS: dict[str, Any] = {"pimloop-sweep/1": Sweep1, FORMAT: Sweep}


def check_sweep(data: Any) -> Sweep:
    """Return the object of a sweep.json of any version, checked, as one of today's.

    Version 1 did not always name axes, shapes and inputs: where they are missing, there were none.

    Raises
    ------
    JsonError
        When it is none; says where and what was expected.
    """
    sweep: Sweep1 | Sweep = check(data, type_of_version(data, VERSIONS))
    if sweep["format"] == FORMAT:
        return sweep
    rows = [cast(SweepRow, {"axes": {}, "shapes": {}, "inputs": None, **r}) for r in sweep["rows"]]
    return {"format": FORMAT, "points": sweep["points"], "rows": rows}


def read_sweep(folder: Path) -> Sweep:
    """Return the sweep in a folder.

    Raises
    ------
    PimloopError
        When there is none, or it is of no version that is read, or damaged; says where.
    """
    path = folder / FILE_NAME
    data = None
    try:
        data = read_json(path)
        return check_sweep(data)
    except OSError as error:
        raise PimloopError(
            f"cannot read {path}: {error.strerror}; give the folder that `pimloop sweep` wrote"
        ) from error
    except JsonError as error:
        raise PimloopError(f"{path}: {error}{advice(data, VERSIONS)}") from error
