"""Records the device's signals while it runs one operator of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pimloop.host.cpu.operators import run_reference
from pimloop.host.execution.device import open_pim
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.options import Options
from pimloop.host.models.graph import Array, Graph
from pimloop.host.pim.device.open import Flavour, recorded
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pim.forms import driver_forms
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.platforms.platform import Platform
from pimloop.sim.device.lanes import default_flavour


def record_operator(
    graph: Graph,
    feeds: Mapping[str, Array],
    platform: Platform,
    node_id: str,
    output: Path,
    flavour: Flavour | None = None,
) -> int:
    """Record one operator to `output`, an FST file; return its DRAM clocks.

    The operator runs alone, on the operands that the model computes in float32.
    Weights are loaded before the recording begins.

    Raises
    ------
    SimError
        When the simulator cannot be built or fails.
    """
    operations = pim_fit(graph, platform).operations
    operation = operations[node_id]
    node = graph.node(node_id)
    names = tuple(graph.activations(node))
    made = tuple(name for name in names if name not in feeds)
    values = dict(feeds)
    if made:
        values |= run_reference(graph, feeds, outputs=made)
    alone = operator_alone(graph, node_id, names)
    options = Options(flavour=flavour or default_flavour(), cache=False)
    with (
        open_pim(platform, options, trace=True) as (device, driver),
        ResidentModel(
            alone,
            {node_id: operation},
            driver,
            # As in the whole model, where other operators may read the same tensors.
            forms=driver_forms(graph, operations, driver),
        ) as resident,
    ):
        executor = Executor(alone, {node_id: "pim"}, {node_id: operation}, resident)
        executor.load_weights()
        with recorded(device, output):
            execution = executor.run({name: values[name] for name in names})
    return execution.pim[node_id].cycles


def operator_alone(graph: Graph, node_id: str, inputs: tuple[str, ...]) -> Graph:
    """Return one operator as a model of its own, with the tensors `inputs` as its inputs."""
    node = graph.node(node_id)
    names = [name for name in (*node.inputs, *node.outputs) if name]
    return Graph(
        name=f"{graph.name}/{node_id}",
        nodes=(node,),
        tensors={name: graph.tensors[name] for name in names},
        constants={name: graph.constants[name] for name in names if name in graph.constants},
        inputs=inputs,
        outputs=tuple(name for name in node.outputs if name),
        opsets=graph.opsets,
    )
