"""The published JSON Schemas of pimloop's files, generated from their types.

    python -m pimloop.host.report.schemas [--check]

writes a file for every version that is read into `pimloop/schemas`, which the wheel has too, or
says which of them is not up to date. `pimloop schema` prints them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

import pimloop
import pimloop.host.report.format.versions as report_file
from pimloop.errors import PimloopError
from pimloop.host.report.format import sweep as sweep_file
from pimloop.partitioner import cost_file, plan_file

FOLDER = Path(str(pimloop.__file__)).parent / "schemas"

#: The type of every format that is read, the oldest version of each first.
FORMATS: dict[str, Any] = {
    **cost_file.VERSIONS,
    **plan_file.VERSIONS,
    **report_file.VERSIONS,
    **sweep_file.VERSIONS,
}

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a format, as `pimloop-costs/2`."""
    kind = FORMATS[name]
    _, parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    whole = parts.pop(kind.__name__)
    if name in cost_file.VERSIONS:
        later = {key for options in cost_file.SINCE.values() for key in options.__annotations__}
        whole["properties"] |= dict.fromkeys(sorted(later - kind.__annotations__.keys()), False)
    if name in plan_file.VERSIONS:
        whole |= _MAKESPAN
    if kind is plan_file.PlanJson1:
        properties = whole["properties"]
        properties |= {"splits": False, "energy": False}
        objectives = properties["objective"]["enum"]
        kept = [each for each in objectives if each not in plan_file.ENERGY_OBJECTIVES]
        properties["objective"] = {**properties["objective"], "enum": kept}
    head = {"$schema": _DIALECT, "$id": f"urn:{name.replace('/', ':')}", **whole, "title": name}
    return {**head, "$defs": dict(sorted(parts.items()))} if parts else head


#: A makespan plan has the order of its operators.
_MAKESPAN: dict[str, Any] = {
    "if": {"properties": {"objective": {"const": "makespan"}}, "required": ["objective"]},
    "then": {"properties": {"schedule": {"minItems": 1}}, "required": ["schedule"]},
}


def path_of(name: str) -> Path:
    """Return the file of a format's schema."""
    return FOLDER / f"{name.replace('/', '-')}.schema.json"


def read_schema(name: str) -> str:
    """Return the published schema of a format.

    Raises
    ------
    PimloopError
        When there is none; names those that there are.
    """
    if name not in FORMATS:
        raise PimloopError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    return path_of(name).read_text(encoding="utf-8")


def _text(name: str) -> str:
    return json.dumps(schema(name), indent=2) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the schemas, or check them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if outdated")
    check = parser.parse_args(argv).check
    texts = {path_of(name): _text(name) for name in FORMATS}
    outdated = [
        path
        for path, text in texts.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    strange = sorted(set(FOLDER.glob("*.json")) - texts.keys())
    for path in [*outdated, *strange]:
        print(f"{path.name} is not up to date", file=sys.stderr)
    if check:
        if outdated or strange:
            print("run `python -m pimloop.host.report.schemas`", file=sys.stderr)
        return 1 if outdated or strange else 0
    FOLDER.mkdir(exist_ok=True)
    for path in outdated:
        path.write_text(texts[path], encoding="utf-8")
    for path in strange:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
