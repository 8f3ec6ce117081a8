"""What a report says of places: what an operator would cost elsewhere, and what a change would."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from pimloop.partitioner.typed_json import Count, Number, Us, doc


class Alternative(TypedDict):
    """What one operator would cost on another device, by the costs of the profile."""

    device: Annotated[str, doc("The device, or the name of a split.")]
    operator_us: Annotated[
        Us, doc("Time of the operator there, microseconds; of a split, of its slower part.")
    ]
    adds: Annotated[
        dict[str, Us],
        doc(
            "Transfers that are needed if it alone moves there, `tensor source>destination`,"
            " microseconds."
        ),
    ]
    saves: Annotated[
        dict[str, Us], doc("Transfers that are then not needed any more, microseconds.")
    ]
    kept_us: Annotated[
        Number | None,
        doc(
            "What the schedule takes more if it alone moves there, microseconds, exact; null: that"
            " needs a transfer which is forbidden."
        ),
    ]
    regret_us: Annotated[
        Us | None,
        doc(
            "What the schedule takes more at least with the operator there and all others placed"
            " anew, microseconds; null: no placement has it there."
        ),
    ]


class Placement(TypedDict):
    """Why the operators of an optimal schedule are where they are."""

    exact: Annotated[
        bool,
        doc(
            "Whether every `regret_us` is exact; false: weights may fill a memory, so it may be"
            " more."
        ),
    ]
    alternatives: Annotated[
        dict[str, list[Alternative]],
        doc(
            "By operator id: its other devices; of splits, the next smaller and the next larger"
            " share, and the cheapest one."
        ),
    ]


class WhatIfTotal(TypedDict):
    """The optimum of a policy after a change."""

    total_us: Annotated[
        Us,
        doc(
            "Least time by the changed costs, microseconds, proved. Where it uses a share that was"
            " not simulated, the most that it may be; `lower_bound_us` is below it then."
        ),
    ]
    lower_bound_us: NotRequired[
        Annotated[Us, doc("The least that it may be, microseconds; the same where it is exact.")]
    ]
    moved: Annotated[Count, doc("Operators that are elsewhere, or split otherwise, than before.")]


class WhatIf(TypedDict):
    """What a change of the platform would do, by the costs of the profile."""

    change: Annotated[str, doc("Name of the change.")]
    title: Annotated[str, doc("What changes, for people.")]
    how: Annotated[str, doc("What of the costs changes and how that is known.")]
    totals: Annotated[
        dict[str, WhatIfTotal], doc("By policy, `optimal` and `coexec`, those of the report.")
    ]
