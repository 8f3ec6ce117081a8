"""ONNX Runtime traces, written here as the paper's build writes them, become a cost graph."""

from __future__ import annotations

import json

import pytest

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.ort_trace import import_ort
from pimloop.partitioner.place.solve import partition


def event(name: str, op: str, dur: int, before: str, after: str, sizes, provider="CPU") -> dict:
    activation, parameter, output = map(str, sizes)
    return {
        "cat": "Node",
        "dur": dur,
        "ph": "X",
        "name": f"{name}_kernel_time",
        "args": {
            "op_name": op,
            "provider": f"{provider}ExecutionProvider",
            "input_nodes": "".join(f"{n} " for n in before.split()),
            "output_nodes": "".join(f"{n} " for n in after.split()),
            "activation_size": activation,
            "parameter_size": parameter,
            "output_size": output,
        },
    }


def noise(name: str) -> dict:
    return {"cat": "Node", "dur": 1, "name": f"{name}_fence_before", "args": {"op_name": "X"}}


def cpu_trace(gather: int, add: int, mul: int, soft: int) -> list[dict]:
    return [
        {"cat": "Session", "dur": 9, "name": "session_initialization", "args": {}},
        noise("Gather_0"),
        event("Gather_0", "Gather", gather, "", "Add_1 Mul_2", (64, 4096, 1024)),
        event("Add_1", "Add", add, "Gather_0", "Mul_2", (1024, 512, 1024)),
        event("Mul_2", "Mul", mul, "Gather_0 Add_1", "Softmax_3", (2048, 0, 2048)),
        event("Softmax_3", "Softmax", soft, "Mul_2", "", (2048, 0, 2048)),
    ]


# On PIM: Gather -> copy -> Add -> Mul -> copy -> Softmax; the copy serves both readers.
PIM_TRACE = [
    event("Gather_0", "Gather", 70, "", "Memcpy", (64, 4096, 1024)),
    event("Memcpy", "MemcpyFromHost", 40, "Gather_0", "Add_1 Mul_2", (1024, 0, 512), "PIM"),
    event("Add_1", "Add", 10, "Memcpy", "Mul_2", (512, 256, 512), "PIM"),
    event("Mul_2", "Mul", 20, "Memcpy Add_1", "Memcpy_t", (1024, 0, 1024), "PIM"),
    event("Memcpy_t", "MemcpyToHost", 90, "Mul_2", "Softmax_3", (1024, 0, 2048), "PIM"),
    event("Softmax_3", "Softmax", 55, "Memcpy_t", "", (2048, 0, 2048)),
]


@pytest.fixture
def traces(tmp_path):
    """Write traces (name -> events) and return their paths."""

    def write(**files) -> dict:
        paths = {}
        for name, events in files.items():
            paths[name] = tmp_path / f"{name}.json"
            paths[name].write_text(json.dumps(events))
        return paths

    return write


def standard(traces, **more) -> dict:
    return traces(
        cpu_serial=cpu_trace(80, 300, 400, 60),
        cpu_parallel=[*cpu_trace(90, 100, 150, 61), *cpu_trace(85, 120, 140, 62)],
        pim=PIM_TRACE,
        **more,
    )


def test_costs_graph_and_transfers(traces) -> None:
    costs = import_ort(**standard(traces))
    assert costs.cost_us == {
        "Gather_0": {"cpu_serial": 80, "cpu_parallel": 85},
        "Add_1": {"cpu_serial": 300, "cpu_parallel": 100, "pim": 10},
        "Mul_2": {"cpu_serial": 400, "cpu_parallel": 140, "pim": 20},
        "Softmax_3": {"cpu_serial": 60, "cpu_parallel": 61},
    }
    tensors = {tensor.id: tensor for tensor in costs.graph.tensors}
    assert set(tensors) == {"input of Gather_0", "Gather_0", "Add_1", "Mul_2", "Softmax_3"}
    assert tensors["Gather_0"].consumers == ("Add_1", "Mul_2")
    assert tensors["Gather_0"].bytes == 512  # on PIM, as the copy says
    assert [name for name, tensor in tensors.items() if tensor.output] == ["Softmax_3"]
    assert costs.transfer_us["Gather_0"]["cpu", "pim"] == 40
    assert costs.transfer_us["Mul_2"]["pim", "cpu"] == 90
    plan = partition(costs)
    assert plan.assignment == {
        "Gather_0": "cpu_serial",
        "Add_1": "pim",
        "Mul_2": "pim",
        "Softmax_3": "cpu_serial",
    }
    assert plan.total_us == 80 + 40 + 10 + 20 + 90 + 60


def test_median(traces) -> None:
    costs = import_ort(**standard(traces), statistic="median")
    assert costs.cost_us["Add_1"]["cpu_parallel"] == 110


def test_edge_trace_wins_and_sizes_between_are_interpolated(traces) -> None:
    edge = [
        event("M1", "MemcpyFromHost", 30, "Gather_0", "Add_1", (1024, 0, 512), "PIM"),
        event("M2", "MemcpyFromHost", 130, "Mul_2", "Softmax_3", (3072, 0, 1536), "PIM"),
    ]
    costs = import_ort(**standard(traces, edge=edge))
    assert costs.transfer_us["Gather_0"]["cpu", "pim"] == 30  # not 40, which the PIM trace says
    assert costs.transfer_us["Mul_2"]["cpu", "pim"] == 80  # 2048 bytes, half way
    assert costs.transfer_us["Mul_2"]["pim", "cpu"] == 90  # only the PIM trace has one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["pim"].write_text("[]"), "pim.json: no '.*_kernel_time' events"),
        (lambda t: t["pim"].write_text("{"), "pim.json: cannot read"),
        (lambda t: t["pim"].write_text("{}"), "pim.json: not an ONNX Runtime trace"),
        (lambda t: t["cpu_serial"].unlink(), "cpu_serial.json: cannot read"),
        (
            lambda t: t["pim"].write_text(t["pim"].read_text().replace("Add_1", "Add_9")),
            "node 'Add_9' does not occur in .*cpu_serial.json",
        ),
        (
            lambda t: t["cpu_serial"].write_text(
                t["cpu_serial"].read_text().replace("input_nodes", "input_type_shape")
            ),
            r"node 'Gather_0': no 'input_nodes'.* pimloop profile MODEL\.onnx",
        ),
        (
            lambda t: t["cpu_serial"].write_text(
                t["cpu_serial"].read_text().replace('"Gather_0 Add_1 "', '"Gather_0 Ghost "')
            ),
            "node 'Mul_2' is joined to 'Ghost'",
        ),
        (
            lambda t: t["cpu_serial"].write_text(
                t["cpu_serial"].read_text().replace('"dur": 300', '"dur": -3')
            ),
            "node 'Add_1': 'dur' is -3",
        ),
    ],
)
def test_broken_traces_are_named(traces, change, message: str) -> None:
    paths = standard(traces)
    change(paths)
    with pytest.raises(PartitionerError, match=message):
        import_ort(**paths)


def test_no_transfers_anywhere(traces) -> None:
    paths = standard(traces)
    alone = event("Add_1", "Add", 10, "Gather_0", "", (512, 256, 512), "PIM")
    gather = event("Gather_0", "Gather", 10, "", "Add_1", (64, 4096, 1024))
    paths["pim"].write_text(json.dumps([gather, alone]))
    with pytest.raises(PartitionerError, match="no transfer times cpu>pim"):
        import_ort(**paths)
