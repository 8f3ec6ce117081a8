"""Make the data that ship from the authors' published measurements.

`python -m pimloop.host.board.distil --paper-dir DIR`, where DIR holds `<model>_seq<length>.json`
for the three models and lengths. `host/board/data` gets the graphs and each operator's costs.
Totals and transfers are not repeated there: they are in `partitioner/paper/data/paper_tables.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.board.templates import COLUMNS, Template, templates
from pimloop.host.common.files import write_text
from pimloop.partitioner.paper import tables
from pimloop.partitioner.paper.tables import CITATION, DEVICES, LENGTHS, MODELS, load_paper_file
from pimloop.partitioner.quantity import quantity

FORMAT = "pimloop-board/1"
FOLDER = Path(__file__).resolve().parent / "data"
TABLES = Path(tables.__file__).resolve().parent / "data" / "paper_tables.json"


def distil(directory: Path, model: str) -> dict[str, Any]:
    """Return the graph of a model with its classes, and each node's costs at every length.

    Raises
    ------
    PimloopError
        When a node has the bytes of no template, or the graph is another one at another length.
    """
    files = {length: load_paper_file(directory, model, length) for length in LENGTHS}
    first = files[LENGTHS[0]]
    ids = [node["id"] for node in first["nodes"]]
    for length, data in files.items():
        if [node["id"] for node in data["nodes"]] != ids or data["edges"] != first["edges"]:
            raise PimloopError(f"{model}: the graph at length {length} is another one")
    keys = _keys_of_columns(first)
    known = templates(model)
    classes: dict[Template, int] = {}
    nodes = []
    for index, name in enumerate(ids):
        rows = {length: data["nodes"][index] for length, data in files.items()}
        template = _match(known, rows, name in keys)
        nodes.append([int(name.rpartition("_")[2]), classes.setdefault(template, len(classes))])
    place = {name: index for index, name in enumerate(ids)}
    return {
        "format": FORMAT,
        "source": CITATION,
        "model": model,
        "units": "microseconds; dimension p is the sequence length",
        "classes": [_class(template) for template in classes],
        "nodes": nodes,
        "edges": [[place[a], place[b]] for a, b in first["edges"]],
        "measurements": {str(length): _measurement(data, place) for length, data in files.items()},
    }


def _keys_of_columns(data: dict[str, Any]) -> set[str]:
    """Return the Transposes that turn keys into columns.

    Both operands of the scores' product are Transposes of the same bytes; exporters emit the
    keys' one, fused of two, last.
    """
    before: dict[str, list[str]] = {}
    for producer, consumer in data["edges"]:
        before.setdefault(consumer, []).append(producer)
    keys = set()
    for node in data["nodes"]:
        sources = before.get(node["id"], [])
        pair = [name for name in sources if name.startswith("Transpose_")]
        if node["op"] == "MatMul" and len(pair) == 2:
            keys.add(max(pair, key=lambda name: int(name.rpartition("_")[2])))
    return keys


def _match(known: list[Template], rows: dict[int, dict[str, Any]], columns: bool) -> Template:
    fitting = [
        template
        for template in known
        if all(
            template.op == row["op"]
            and template.nbytes("activation", length) == row["activation_bytes"]
            and template.nbytes("constant", length) == row["parameter_bytes"]
            and template.nbytes("output", length) == row["output_bytes"]
            for length, row in rows.items()
        )
    ]
    if len(fitting) == 2 and {template.op for template in fitting} == {"Transpose"}:
        fitting = [t for t in fitting if (dict(t.attributes)["perm"] == COLUMNS) == columns]
    if len(fitting) != 1:
        row = next(iter(rows.values()))
        raise PimloopError(
            f"{row['id']}: {quantity(len(fitting), 'template has', 'templates have')} its bytes,"
            f" not one: {row}"
        )
    return fitting[0]


def _class(template: Template) -> list[Any]:
    operands = [
        [operand.kind[0], operand.dtype, list(operand.shape)] for operand in template.operands
    ]
    return [template.op, operands, dict(template.attributes)]


def _measurement(data: dict[str, Any], place: dict[str, int]) -> dict[str, Any]:
    costs = {device: [node["cost_us"].get(device) for node in data["nodes"]] for device in DEVICES}
    return {"cost_us": costs, "optimal_pim": [place[n] for n in data["published_opt_pim_nodes"]]}


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--paper-dir", type=Path, required=True)
    directory = parser.parse_args().paper_dir
    FOLDER.mkdir(exist_ok=True)
    for model in MODELS:
        text = json.dumps(distil(directory, model), separators=(",", ":"))
        write_text(FOLDER / f"{model}.json", text + "\n")
    text = json.dumps(tables.distil(directory), separators=(",", ":")).replace("],[", "],\n[")
    write_text(TABLES, text + "\n")


if __name__ == "__main__":
    main()
