"""What does nothing for a policy, or takes away what it needs: for commands and for `pimloop`."""

from __future__ import annotations

from collections.abc import Iterable

from pimloop.host.common.idle import Conflict, Idle, Values
from pimloop.host.execution.idle import on_model

#: Policies that are searched for; every other one has a rule that places. "all" has both.
_SEARCHED = ("optimal", "coexec", "all")

_LIMIT_S = 60.0  # not imported from the solvers, which take a while


def _has_a_rule(values: Values) -> bool:
    return values["policy"] not in _SEARCHED


def _asks_no_programme(values: Values) -> bool:
    exact = values.get("method", "auto") in ("mincut", "dp")
    return exact and values["objective"] in ("sequential", "energy")


def executed_anyway(values: Values, policies: Iterable[str]) -> bool:
    """Whether a policy is asked for that the whole way executes without being asked."""
    from pimloop.host.planning.policies import POLICIES, find_policies

    known = POLICIES if on_model(values) else find_policies()
    return any(name in known for name in policies)


PARTITION = (
    Idle(
        {"method": "auto"},
        "it is how the optimum is found, and policy {policy} places by a rule of its own",
        _has_a_rule,
    ),
    Idle(
        {"time_limit": _LIMIT_S, "time_limit_s": _LIMIT_S},
        "policy {policy} places by a rule of its own and searches for nothing",
        _has_a_rule,
    ),
    Idle(
        {"time_limit": _LIMIT_S},
        "it bounds integer programming, which --method {method} does not use",
        _asks_no_programme,
    ),
)


def _whole(values: Values) -> bool:
    return values.get("shares") == 1


_WHOLE = "one share leaves every product whole; ask for 2 shares or more, or not for coexec"

#: Of commands and functions that take a policy and a number of shares.
SHARES = (
    Conflict("policy", "coexec", "shares", _WHOLE, _whole),
    Conflict("policies", "coexec", "shares", _WHOLE, _whole),
)
