"""model-annotated.onnx: the model with the device and cost of every operator, for Netron.

The file holds the graph only. Constants above a kilobyte become graph inputs of their type and
shape: an ONNX model without its weights, valid for `onnx.checker` and small (the node names and
shapes of twelve layers take some 300 kB). It is made to be looked at, not to be run.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from pimloop.host.common.files import write_whole
from pimloop.host.common.text import printable
from pimloop.host.models.graph import INLINE_BYTES, IR_VERSION, Graph
from pimloop.host.report.format.model import Node
from pimloop.host.report.format.report import Report
from pimloop.host.report.format.schedule import Schedule, SplitOperator
from pimloop.host.report.html.labels import device_title, format_us, schedule_order, schedule_title

#: Prefix of the keys in `metadata_props`.
PREFIX = "pimloop."


def write_annotated(graph: Graph, report: Report, path: Path) -> None:
    """Write the annotated model.

    Every node carries in `metadata_props` its device in each schedule (`pimloop.device.optimal`),
    its cost on each device in microseconds (`pimloop.us.pim`) with where that number came from
    (`pimloop.source.pim`), and the same as a sentence in `doc_string`. A node that a schedule
    splits has the columns and microseconds of each part (`pimloop.part_us.coexec.pim`) and the
    microseconds of its gathers.

    Parameters
    ----------
    graph
        The model of the report.
    report
        The object of report.json (`pimloop-report/3`).
    path
        The file; replaced when it exists.

    Raises
    ------
    PimloopError
        When the file cannot be written.
    """
    write_whole(path, annotated(graph, report).SerializeToString())


def annotated(graph: Graph, report: Report) -> onnx.ModelProto:
    """Return the annotated model; see `write_annotated`."""
    costs = {node["id"]: node for node in (report.get("graph") or {}).get("nodes") or ()}
    schedules = {name: report["schedules"][name] for name in schedule_order(report["schedules"])}
    nodes = []
    for node in graph.nodes:
        proto = node.proto()
        properties = _properties(node.id, costs.get(node.id), schedules)
        _attach(proto, properties)
        proto.doc_string = printable(_sentence(node.id, costs.get(node.id), schedules))
        nodes.append(proto)
    read = dict.fromkeys(name for node in graph.nodes for name in node.inputs if name)
    constants = [n for n in (*read, *graph.outputs) if n in graph.constants]
    small = [n for n in dict.fromkeys(constants) if graph.tensors[n].nbytes <= INLINE_BYTES]
    large = [n for n in dict.fromkeys(constants) if graph.tensors[n].nbytes > INLINE_BYTES]
    # Values between operators too, so that a viewer shows their shapes.
    made = [n for node in graph.nodes for n in node.outputs if n and n not in graph.outputs]
    proto = helper.make_graph(
        nodes,
        printable(graph.name),
        [_value(graph, name) for name in (*graph.inputs, *large)],
        [_value(graph, name) for name in graph.outputs],
        [_small(graph, name) for name in small],
        value_info=[_value(graph, name) for name in made if name in graph.tensors],
    )
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid(d, v) for d, v in graph.opsets.items()],
        ir_version=IR_VERSION,
        producer_name="pimloop",
        doc_string="Devices and costs by pimloop; weights are left out, so this does not run.",
    )
    summary = {f"{PREFIX}platform": printable(str(report["platform"]))}
    for name, schedule in schedules.items():
        if schedule.get("executed_us") is not None:
            summary[f"{PREFIX}executed_us.{name}"] = f"{schedule['executed_us']:.3f}"
    helper.set_model_props(model, summary)
    return model


def _properties(
    identifier: str, cost: Node | None, schedules: dict[str, Schedule]
) -> dict[str, str]:
    properties = {}
    for name, schedule in schedules.items():
        device = (schedule.get("assignment") or {}).get(identifier)
        if device is not None:
            properties[f"{PREFIX}device.{name}"] = device
        split = (schedule.get("splits") or {}).get(identifier)
        if split is not None:
            properties |= _split_properties(name, split)
    if cost is None:
        return properties
    for device, us in cost["cost_us"].items():
        properties[f"{PREFIX}us.{device}"] = f"{us:.3f}"
        source = (cost.get("source") or {}).get(device)
        if source:
            properties[f"{PREFIX}source.{device}"] = source
    return properties


def _split_properties(name: str, split: SplitOperator) -> dict[str, str]:
    """Return columns and time of each device's part, and the gathers, in one schedule."""
    properties = {
        f"{PREFIX}columns.{name}.{device}": str(columns)
        for device, columns in split["columns"].items()
    }
    for device, us in (split["us"] or {}).items():
        properties[f"{PREFIX}part_us.{name}.{device}"] = f"{us:.3f}"
    for memory, us in (split.get("gather_us") or {}).items():
        properties[f"{PREFIX}gather_us.{name}.{memory}"] = f"{us:.3f}"
    return properties


def _sentence(identifier: str, cost: Node | None, schedules: dict[str, Schedule]) -> str:
    """Return one line for a person: where the first schedule puts the node, and all costs."""
    placed = next(
        (
            f"{schedule_title(name, schedule)}:"
            f" {device_title(schedule['assignment'][identifier])}. "
            for name, schedule in schedules.items()
            if identifier in (schedule.get("assignment") or {})
        ),
        "",
    )
    costs = ", ".join(
        f"{device_title(device)} {format_us(us)}"
        for device, us in (cost["cost_us"].items() if cost is not None else ())
    )
    return placed + _shared(identifier, schedules) + (f"Costs: {costs}." if costs else "")


def _shared(identifier: str, schedules: dict[str, Schedule]) -> str:
    """Return how each schedule that splits an operator shares it, a sentence each."""
    text = ""
    for name, schedule in schedules.items():
        split = (schedule.get("splits") or {}).get(identifier)
        if split is None:
            continue
        us = split["us"] or {}
        parts = [
            f"{device_title(device)} {columns} columns"
            + (f" in {format_us(us[device])}" if device in us else "")
            for device, columns in split["columns"].items()
        ]
        text += f"{schedule_title(name, schedule)}: {', '.join(parts)}, at the same time. "
    return text


def _attach(proto: onnx.NodeProto, properties: dict[str, str]) -> None:
    for key, value in properties.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, printable(value)


def _value(graph: Graph, name: str) -> onnx.ValueInfoProto:
    info = graph.tensors[name]
    return helper.make_tensor_value_info(name, info.onnx_type, list(info.shape))


def _small(graph: Graph, name: str) -> TensorProto:
    return onnx.numpy_helper.from_array(graph.value(name), name)
