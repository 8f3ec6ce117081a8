"""Each mutant of the DRAM scheduler breaks its rule, and both checkers name it.

The assertions of pim_timing_check end the run of `random_spans` (and, for the refresh, of
`refresh_keeps_its_average`). The same program then runs with assertions off, and
`pimloop.sim.check.protocol` finds the same rule broken in its command trace. Without a mutant both
find nothing.
"""

import contextlib

import pytest
import test_pim_sched
from mutants import MUTANTS, mutated, patches

from pimloop.sim.bench.unit import BenchFailure, run_bench
from pimloop.sim.check.protocol import Channel, check_file

#: Patch: style in which its rule is come up against, what the assertion and the checker call it.
EXPECTED = {
    "trcd": ("per_bank", "tRCD", "tRCD"),
    "trp": ("per_bank", "tRP", "tRP"),
    "tccd_l": ("per_bank", "tCCD_L", "tCCD_L"),
    "tfaw": ("all_bank", "tFAW", "tFAW"),
    "twtr": ("per_bank", "tWTR_L", "tWTR_L"),
    "refresh": ("per_bank", "refresh lost", "refresh"),
    "txsdll": ("per_bank", "tXSDLL", "tXSDLL"),
    "exit_refresh": (
        "per_bank",
        "no REF before self-refresh",
        "REF before self-refresh",
    ),
}
#: The one that `make test` builds.
QUICK = "tfaw"
SEED = 7


def run(sources, style, trace, *, assertions):
    """Run the scheduler's bench and leave its command trace in `trace`."""
    plusargs = [f"+command_trace={trace}"]
    if not assertions:
        plusargs.append("+verilator+noassert")
    environment = {"STYLE": style, "COCOTB_TEST_FILTER": "random_spans|refresh_keeps"}
    run_bench(
        "pim_sched_bench",
        sources,
        environment=environment,
        plusargs=plusargs,
        seed=SEED,
        **test_pim_sched.options(style),
    )


def channel(style):
    return Channel.of_parameters(test_pim_sched.STYLES[style])


def test_every_mutant_is_expected():
    assert {patch.stem for patch in patches("dram")} == EXPECTED.keys()


@pytest.mark.parametrize("style", test_pim_sched.STYLES)
def test_the_scheduler_itself_breaks_no_rule(style, tmp_path):
    trace = tmp_path / "trace.txt"
    run(test_pim_sched.SOURCES, style, trace, assertions=True)
    report = check_file(trace, channel(style))
    assert report.passed, report.text()
    assert report.commands["REF"] > 20
    assert report.commands["RD"] > 1000
    assert report.commands["WR"] > 1000


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == QUICK else pytest.mark.full) for n in EXPECTED]
)
def test_a_mutant_is_caught_by_the_assertions_and_by_the_checker(name, tmp_path):
    style, asserted, checked = EXPECTED[name]
    sources = mutated(MUTANTS / "dram" / f"{name}.patch", test_pim_sched.SOURCES, tmp_path)
    trace = tmp_path / "trace.txt"
    with pytest.raises(BenchFailure, match=asserted):
        run(sources, style, trace, assertions=True)
    # The bench itself may notice a refresh that is missing; what counts is the trace.
    with contextlib.suppress(BenchFailure):
        run(sources, style, trace, assertions=False)
    report = check_file(trace, channel(style))
    assert set(report.broken) == {checked}, report.text()
