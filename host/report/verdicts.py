"""What the report says of checks: those of one execution, and the verdict on all of a run."""

from __future__ import annotations

import math
from typing import cast

from pimloop.host.execution.result import Result
from pimloop.host.execution.verification import OPERATOR_LIMIT
from pimloop.host.planning.outcome import Outcome
from pimloop.host.report.format.verification import Comparison as ComparisonJson
from pimloop.host.report.format.verification import (
    IntegerComparison,
    OperatorErrors,
    OverallVerification,
    Verification,
)


def overall_verification(outcome: Outcome, main: Result) -> OverallVerification:
    """Return the verdict on all executions, with the numbers of the main schedule."""
    wrong = [str(mismatch) for result in outcome.results for mismatch in result.mismatches]
    return {
        **verification(main),
        "passed": outcome.passed,
        "predictions_missed": [
            f"{name}: {missed}"
            for name, schedule in outcome.schedules.items()
            for missed in schedule.missed
        ],
        "pim_bit_exact": not wrong,
        "pim_results_checked": sum(result.checked for result in outcome.results),
        "pim_results_wrong": wrong,
        "non_finite": list(dict.fromkeys(str(f) for r in outcome.results for f in r.non_finite)),
        "cpu_results_wrong": [text for r in outcome.results for text in r.wrong_segments],
        "executions": len(outcome.results),
    }


def verification(result: Result) -> Verification:
    """Return what was checked of an execution."""
    outputs = [c.to_json() for c in result.comparisons if c.tensor in result.graph.outputs]
    errors = [c["max_abs_error"] for c in outputs]
    cosines = [c["cosine"] for c in outputs]
    return {
        "passed": result.passed,
        "pim_bit_exact": result.pim_bit_exact,
        "pim_results_checked": result.checked,
        "pim_results_wrong": [str(mismatch) for mismatch in result.mismatches],
        "non_finite": [str(non_finite) for non_finite in result.non_finite],
        "cpu_results_wrong": list(result.wrong_segments),
        "pim_operators_against_float32": _operator_errors(result),
        "max_abs_error": None if None in errors else max(errors, default=0.0),
        "cosine": None if None in cosines else min(cosines, default=1.0),
        "compared": [cast(ComparisonJson, c.to_json()) for c in result.comparisons],
        "integers": [
            cast(IntegerComparison, comparison.to_json()) for comparison in result.integers
        ],
    }


def _operator_errors(result: Result) -> OperatorErrors | None:
    """Return the worst PIM operator against float32, None without PIM operators."""
    if not result.operator_errors:
        return None
    node, worst = max(result.operator_errors.items(), key=lambda item: item[1])
    return {
        "worst": worst if math.isfinite(worst) else None,
        "node": node,
        "limit": OPERATOR_LIMIT,
        "passed": worst <= OPERATOR_LIMIT,
    }
