"""The published schemas: an independent validator and our readers refuse the same files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support import report_samples as samples
from support.damage import kinds

from pimloop.errors import PimloopError
from pimloop.host.cli import main
from pimloop.host.planning.plans import load_plan
from pimloop.host.report import schemas
from pimloop.host.report.build import FILE_NAME, read_report
from pimloop.host.report.format import sweep as sweep_file
from pimloop.partitioner.costs import costs_from_dict, costs_to_dict, load_costs
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.plan_file import check_plan
from pimloop.partitioner.typed_json import JsonError, check

#: What a value is replaced with: every type of JSON, and a number below every least one.
REPLACEMENTS: tuple[Any, ...] = (None, True, -2.5, "x", [None], {"x": None})

COSTS_1: dict[str, Any] = {
    "format": "pimloop-costs/1",
    "memories": {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
    "capacity_bytes": {"pim": 4096, "cpu": None},
    "shared_weights": {"w": 16},
    "stand_ins": [["a", "pim"]],
    "nodes": [
        {"id": "a", "op": "MatMul", "signature": "m", "weight_bytes": 64, "shared_weights": ["w"],
         "cost_us": {"cpu_serial": 3.0, "cpu_parallel": 2, "pim": 1.5}},
        {"id": "b", "op": "Erf", "cost_us": {"cpu_serial": 3.0, "cpu_parallel": 2.5}},
    ],
    "tensors": [
        {"id": "y", "producer": "a", "consumers": ["b"], "output": False, "bytes": 8,
         "type": "FLOAT", "transfer_us": {"cpu>pim": 0.5, "pim>cpu": 0.25}},
        {"id": "z", "producer": "b", "consumers": [], "output": True, "transfer_us": {}},
    ],
}  # fmt: skip
COSTS_2 = {
    **COSTS_1,
    "format": "pimloop-costs/2",
    "entry_us": {"cpu_serial": 4.5},
    "cpu_times_disturbed": True,
}
COSTS_3 = {
    **COSTS_2,
    "format": "pimloop-costs/3",
    "splits": {
        "a": [
            {"devices": ["cpu_parallel", "pim"], "share": 1, "shares": 2, "part_us": [0.1, 0.2],
             "gather_us": {"y": {"cpu": 0.1, "pim": 0.1}}, "weight_bytes": [32, 32]},
        ],
    },
}  # fmt: skip
COSTS_4 = {
    **COSTS_2,
    "format": "pimloop-costs/4",
    "energies": {
        "operators": {"a": dict.fromkeys(COSTS_1["nodes"][0]["cost_us"], 10**9),
                      "b": dict.fromkeys(COSTS_1["nodes"][1]["cost_us"], 10**9)},
        "transfers": {"y": {"cpu>pim": 5, "pim>cpu": 7}, "z": {}},
        "entry": {"cpu_serial": 3},
    },
}  # fmt: skip


def plan(costs: dict[str, Any], policy: str = "optimal", **options: Any) -> dict[str, Any]:
    """Return a plan as pimloop writes it."""
    made = partition(costs_from_dict(costs), policy, **options).to_dict()
    return json.loads(json.dumps(made))


def two_schedules(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report with two of its schedules: the others have the same keys."""
    kept = {name: report["schedules"][name] for name in ("optimal", "pim_first")}
    return {**report, "schedules": kept}


SWEEP_2: dict[str, Any] = {
    "format": "pimloop-sweep/2",
    "points": [
        {"point": "m.onnx, axis past = 8, aim", "reused": False, "passed": True, "error": None},
        {"point": "m.onnx, axis past = 9, aim", "reused": False, "passed": None, "error": "no"},
    ],
    "rows": [
        {"model": "m", "sequence_length": None, "platform": "aim", "settings": {"pim.lanes": "8"},
         "schedule": name, "predicted_us": us, "executed_us": us, "optimal": name == "optimal",
         "lower_bound_us": 2.0, "cpu_times_disturbed": False,
         "axes": {"past": 8}, "shapes": {"x": [1, 8]}, "inputs": "in.npz"}
        for name, us in (("optimal", 2.0), ("cpu_serial", 4.5))
    ],
}  # fmt: skip
BOUND = ("axes", "shapes", "inputs")  # what version 1 had not from the beginning
SWEEP_1 = {
    **SWEEP_2,
    "format": "pimloop-sweep/1",
    "rows": [{k: v for k, v in row.items() if k not in BOUND} for row in SWEEP_2["rows"]],
}


#: A file of every version that is read.
FILES: dict[str, dict[str, Any]] = {
    "costs 1": COSTS_1,
    "costs 2": COSTS_2,
    "costs 3": COSTS_3,
    "costs 4": COSTS_4,
    "plan of least energy": plan(COSTS_4, objective="energy"),
    "plan of least energy times time": plan(COSTS_4, objective="edp"),
    "plan of one at a time": plan(COSTS_2),
    "plan of a schedule": plan(COSTS_2, objective="makespan"),
    "plan with a split": plan(COSTS_3, "coexec"),
    "report 2": two_schedules(samples.version_2()),
    "report 3": two_schedules(samples.tiny_report()),
    "sweep 1": SWEEP_1,
    "sweep 2": SWEEP_2,
}


def validator(value: dict[str, Any]) -> Draft202012Validator:
    """Return the validator of a file's published schema."""
    return Draft202012Validator(json.loads(schemas.read_schema(value["format"])))


def read(value: dict[str, Any], folder: Path) -> None:
    """Read a file as the commands do."""
    name = str(value["format"])
    names = {"report": FILE_NAME, "sweep": sweep_file.FILE_NAME}
    path = folder / names.get(name.removeprefix("pimloop-").partition("/")[0], "file.json")
    path.write_text(json.dumps(value), encoding="utf-8")
    if "costs" in name:
        load_costs(path)
    elif "plan" in name:
        load_plan(path)
    elif "sweep" in name:
        sweep_file.read_sweep(folder)
    else:
        read_report(folder)


def refusal(value: dict[str, Any]) -> str:
    """Return what the types say against a file, "" where nothing."""
    try:
        if value["format"].startswith("pimloop-plan"):
            check_plan(value)
        else:
            check(value, schemas.FORMATS[value["format"]])
    except JsonError as error:
        return str(error)
    return ""


def changed(value: Any, path: tuple[Any, ...], new: Any = ...) -> Any:
    """Return a copy with another value at a place, or without the key; the rest is shared."""
    copied = copy.copy(value)
    holder = copied
    for key in path[:-1]:
        holder[key] = copy.copy(holder[key])
        holder = holder[key]
    if new is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return copied


def thinned(value: dict[str, Any]) -> dict[str, Any]:
    """Return a file without the objects in lists that have no place of a new kind.

    Damage to the first place of each kind is the same in it, and what it is checked against is not
    a hundred more objects of the same form.
    """
    kept = {path[:n] for kind in kinds(value) for path in kind[:1] for n in range(len(path) + 1)}

    def thin(part: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(part, list):
            # Numbers and names in a list can be as many as the format asks for.
            return [
                thin(each, (*path, i))
                for i, each in enumerate(part)
                if (*path, i) in kept or not isinstance(each, dict)
            ]
        if isinstance(part, dict):
            return {key: thin(each, (*path, key)) for key, each in part.items()}
        return part

    thin_value: dict[str, Any] = thin(value, ())
    assert _names(thin_value) == _names(value)
    return thin_value


def _names(value: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the kinds of places of a file, its keys without the places in lists."""
    return [tuple("*" if isinstance(k, int) else k for k in kind[0]) for kind in kinds(value)]


def test_every_format_has_a_file_that_is_up_to_date() -> None:
    assert schemas.main(["--check"]) == 0
    assert {value["format"] for value in FILES.values()} == set(schemas.FORMATS)
    for name in schemas.FORMATS:
        Draft202012Validator.check_schema(json.loads(schemas.read_schema(name)))


def test_an_outdated_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schemas, "FOLDER", tmp_path / "schemas")
    assert schemas.main([]) == 0
    assert schemas.main(["--check"]) == 0
    (tmp_path / "schemas" / "pimloop-plan-1.schema.json").write_text("{}")
    (tmp_path / "schemas" / "pimloop-plan-0.schema.json").write_text("{}")
    capsys.readouterr()
    assert schemas.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "pimloop-plan-1.schema.json is not up to date" in said
    assert "pimloop-plan-0.schema.json is not up to date" in said
    assert "pimloop-costs" not in said


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_every_version_is_valid_and_read(name: str, tmp_path: Path) -> None:
    validator(FILES[name]).validate(FILES[name])
    read(FILES[name], tmp_path)


@pytest.mark.parametrize("costs", [COSTS_1, COSTS_2, COSTS_3, COSTS_4])
def test_what_is_written_is_valid(costs: dict[str, Any]) -> None:
    written = json.loads(json.dumps(costs_to_dict(costs_from_dict(costs))))
    assert written["format"] == costs["format"]
    validator(written).validate(written)


@pytest.mark.parametrize("name", FILES)
def test_every_required_key_is_missed_by_both(name: str, tmp_path: Path) -> None:
    """Whether a key is required is the schema's to say; then our reader refuses the file too."""
    value, valid = thinned(FILES[name]), validator(FILES[name])
    required = 0
    for kind in kinds(value):
        path = kind[0]
        if not isinstance(path[-1], str) or path == ("format",):
            continue
        without = changed(value, path)
        message = refusal(without)
        assert valid.is_valid(without) == (not message), path
        if message:
            assert path[-1] in message
            with pytest.raises(PimloopError, match=str(tmp_path)):
                read(without, tmp_path)
            required += 1
    assert required >= {"costs": 8, "plan": 1, "report": 40, "sweep": 16}[name.split()[0]]


@pytest.mark.parametrize("name", [name for name in FILES if name != "report 2"])
def test_every_other_type_is_refused_by_both_or_by_none(name: str) -> None:
    value, valid = thinned(FILES[name]), validator(FILES[name])
    assert valid.is_valid(value)
    assert not refusal(value)
    refusals = 0
    for kind in kinds(value):
        path = kind[0]
        if path == ("format",):
            continue
        for new in REPLACEMENTS:
            other = changed(value, path, new)
            message = refusal(other)
            assert valid.is_valid(other) == (not message), (path, new, message)
            refusals += bool(message)
    assert refusals > len(kinds(value))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("version", ["pimloop-costs/9", "pimloop-report/1", "x", "", None, 3, []])
def test_an_unknown_version_is_refused_by_both(name: str, version: Any, tmp_path: Path) -> None:
    other = {**FILES[name], "format": version}
    assert not validator(FILES[name]).is_valid(other)
    kind = name.split()[0]
    path = tmp_path / (sweep_file.FILE_NAME if kind == "sweep" else FILE_NAME)
    path.write_text(json.dumps(other), encoding="utf-8")
    readers = {
        "costs": lambda: load_costs(path),
        "plan": lambda: load_plan(path),
        "report": lambda: read_report(tmp_path),
        "sweep": lambda: sweep_file.read_sweep(tmp_path),
    }
    with pytest.raises(PimloopError) as error:
        readers[kind]()
    for part in (str(path), "the format is ", ", expected ", f'"{FILES[name]["format"]}"', "; "):
        assert part in str(error.value)


def test_keys_of_a_later_version_are_refused_by_both(tmp_path: Path) -> None:
    split = FILES["plan with a split"]
    for old, key, value in (
        (COSTS_1, "entry_us", COSTS_2["entry_us"]),
        (COSTS_1, "cpu_times_disturbed", True),
        (COSTS_1, "splits", COSTS_3["splits"]),
        (COSTS_2, "splits", COSTS_3["splits"]),
        (FILES["plan of a schedule"], "splits", split["splits"]),
    ):
        other = {**old, key: value}
        assert not validator(old).is_valid(other)
        with pytest.raises(PimloopError, match=f"{key} is not of '{old['format']}'"):
            read(other, tmp_path)


def test_a_makespan_plan_without_order_is_refused_by_both(tmp_path: Path) -> None:
    made = FILES["plan of a schedule"]
    for other in (changed(made, ("schedule",)), changed(made, ("schedule",), [])):
        assert not validator(made).is_valid(other)
        with pytest.raises(PimloopError, match="has no schedule"):
            read(other, tmp_path)


def test_keys_that_nobody_knows_are_let_through(tmp_path: Path) -> None:
    for name, value in FILES.items():
        other = {**value, "later": {"any": [1, None]}}
        assert validator(value).is_valid(other), name
        read(other, tmp_path)


def test_every_key_says_what_it_means() -> None:
    """Unit, meaning and source are in the schema: nobody has to read our code."""

    def undescribed(part: dict[str, Any], where: str) -> list[str]:
        missing = [] if part.get("description") else [where]
        for key, item in part.get("properties", {}).items():
            if item is not False and key != "format" and not item.get("description"):
                missing.append(f"{where}.{key}")
        return missing

    for name in schemas.FORMATS:
        whole = json.loads(schemas.read_schema(name))
        missing = undescribed(whole, name)
        for title, part in whole.get("$defs", {}).items():
            missing += undescribed(part, f"{name} {title}")
        assert missing == []


def test_a_sweep_of_version_1_bound_nothing_where_it_says_nothing(tmp_path: Path) -> None:
    (tmp_path / sweep_file.FILE_NAME).write_text(json.dumps(SWEEP_1))
    read_now = sweep_file.read_sweep(tmp_path)
    validator(SWEEP_2).validate(read_now)
    assert [(row["axes"], row["shapes"], row["inputs"]) for row in read_now["rows"]] == [
        ({}, {}, None), ({}, {}, None),
    ]  # fmt: skip
    later = {**SWEEP_1, "rows": [{**row, "axes": {"past": 8}} for row in SWEEP_1["rows"]]}
    assert sweep_file.check_sweep(later)["rows"][0]["axes"] == {"past": 8}
    with pytest.raises(PimloopError, match="give the folder that `pimloop sweep` wrote"):
        sweep_file.read_sweep(tmp_path / "none")


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out.split() == list(schemas.FORMATS)
    assert main(["schema", "pimloop-report/3"]) == 0
    assert json.loads(capsys.readouterr().out) == schemas.schema("pimloop-report/3")
    assert main(["schema", "pimloop-report/9"]) == 2
    assert "there are pimloop-costs/1" in capsys.readouterr().err
