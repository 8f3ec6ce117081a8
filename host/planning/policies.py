"""Policies: how operators are placed, with costs (the partitioner's and plug-ins') or without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.models.graph import Graph
from pimloop.host.operators import Capabilities, pim_capable
from pimloop.host.plugins.registry import POLICIES as POLICY_PLUGINS
from pimloop.host.plugins.registry import PluginError, find_policy, plugins
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.optimum import DEFAULT_TIME_LIMIT_S
from pimloop.partitioner.place.solve import COEXEC, assignment_plan, partition
from pimloop.partitioner.place.solve import POLICIES as WITH_COSTS
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.problem import Problem

#: A policy of a plug-in: from costs to the device of every operator.
Policy = Callable[[CostGraph], Mapping[str, str]]

#: What the policies with costs do, for `pimloop policies`.
DESCRIPTIONS: Mapping[str, str] = {
    "optimal": "the cheapest assignment, proved",
    "coexec": "the cheapest of whole operators and of those split between CPU and PIM, proved",
    "cpu_serial": "every operator on one CPU core",
    "cpu_parallel_first": "the first capable of all CPU cores, PIM, one CPU core",
    "pim_first": "the first capable of PIM, all CPU cores, one CPU core",
    "greedy": "each operator's cheapest device at its turn, transfers included",
    "paper_dp": "the paper's assembly-line dynamic programme",
}


def pim_first(graph: Graph, capabilities: Capabilities) -> dict[str, str]:
    """Place every PIM-capable operator on the PIM, the others on all CPU cores.

    The paper's priority order PIM, CPU parallel, CPU serial (Kim et al., ACM TODAES 2024).
    """
    capable = pim_capable(graph, capabilities)
    return {node.id: "pim" if node.id in capable else "cpu_parallel" for node in graph.nodes}


def cpu_serial(graph: Graph, capabilities: Capabilities) -> dict[str, str]:
    """Place everything on one CPU core."""
    return {node.id: "cpu_serial" for node in graph.nodes}


def cpu_parallel_first(graph: Graph, capabilities: Capabilities) -> dict[str, str]:
    """Place everything on all CPU cores, which can run every operator.

    The paper's priority order CPU parallel, PIM, CPU serial.
    """
    return {node.id: "cpu_parallel" for node in graph.nodes}


#: The placements that need no costs, by name.
POLICIES: Mapping[str, Callable[[Graph, Capabilities], dict[str, str]]] = {
    "pim_first": pim_first,
    "cpu_serial": cpu_serial,
    "cpu_parallel_first": cpu_parallel_first,
}

#: Names of earlier versions -> today's.
_RENAMED = {"cpu_parallel": "cpu_parallel_first"}


def refuse_without_clock(name: str, backend: str = "model") -> None:
    """Refuse a policy that needs costs on a device that has no clock to measure them.

    Raises
    ------
    PimloopError
        Naming the policies that need none.
    """
    if backend == "model" and name not in POLICIES:
        raise PimloopError(
            f"policy '{name}' needs costs, and the model device has no clock to measure them: use"
            f" --device sim, or a policy without costs ({', '.join(POLICIES)})"
        )


def find_policies(further: Sequence[str] = ()) -> dict[str, Policy | None]:
    """Return the partitioner's policies (None), and those named in `further`: `coexec`, plug-ins'.

    Raises
    ------
    PimloopError
        When a name is unknown, or its plug-in does not load.
    """
    policies: dict[str, Policy | None] = dict.fromkeys(WITH_COSTS)
    for name in further:
        if name in _RENAMED:
            raise PimloopError(f"policy '{name}' is called '{_RENAMED[name]}' now")
        if name not in policies:
            policies[name] = None if name == COEXEC else _of_plugin(name)
    return policies


def _of_plugin(name: str) -> Policy:
    known = plugins(POLICY_PLUGINS)
    if name not in known:
        raise PluginError(
            f"unknown policy '{name}'; policies of installed plug-ins:"
            f" {', '.join(known) or 'none'}; built in: {', '.join((*WITH_COSTS, COEXEC))}"
        )
    return find_policy(name)


def make_plan(
    costs: CostGraph,
    name: str,
    policy: Policy | None = None,
    objective: str = "sequential",
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    method: str = "auto",
) -> Plan:
    """Return the plan of a policy.

    Parameters
    ----------
    policy
        A plug-in's function; None: the partitioner's own policy `name`.
    objective, time_limit_s, method
        As `pimloop.partitioner.place.solve.partition` takes them; a plug-in places, so it has no
        use for the last two.

    Raises
    ------
    PartitionerError
        When there is no plan.
    PimloopError
        When a plug-in fails or places wrongly; the message names it.
    """
    if policy is None:
        return partition(costs, name, objective=objective, method=method, time_limit_s=time_limit_s)
    problem = Problem.of(costs)
    assignment = _placed(policy, name, costs)
    try:
        return assignment_plan(problem, name, assignment, objective, method=f"plug-in {name}")
    except PartitionerError as error:
        raise PimloopError(f"policy '{name}' of a plug-in: {error}") from error


def _placed(policy: Policy, name: str, costs: CostGraph) -> dict[str, str]:
    try:
        answer: Any = policy(costs)
    except Exception as error:  # whatever a stranger's code raises
        raise PimloopError(
            f"policy '{name}' of a plug-in failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(answer, Mapping):
        raise PimloopError(
            f"policy '{name}' of a plug-in returned {type(answer).__name__}; it must return the"
            " device of every operator as a mapping"
        )
    return {str(operator): str(device) for operator, device in answer.items()}
