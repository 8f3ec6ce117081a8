"""Splits in cost and plan files: read back as written, older versions read, mistakes named."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace

import pytest
from support.cost_graphs import random_costs, with_entries
from support.split_graphs import costs_with, half, random_splits, two_devices

from pimloop.partitioner.costs import costs_from_dict, costs_to_dict, load_costs
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.solve import COEXEC, partition
from pimloop.partitioner.plan_file import check_plan
from pimloop.partitioner.splits import Split
from pimloop.partitioner.typed_json import JsonError


@pytest.mark.parametrize("seed", range(10))
def test_costs_with_splits_are_read_back(seed: int, tmp_path) -> None:
    rng = random.Random(seed)
    data = random_costs(rng, 2 + seed % 2, 6, decimals=2, weights=True)
    if seed % 3 == 0:
        data = with_entries(rng, data)
    splits = random_splits(rng, data, 3, decimals=2, weights=seed % 2 == 0)
    costs = costs_with(data, splits)
    written = costs_to_dict(costs)
    assert written["format"] == "pimloop-costs/3"
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(written))
    again = load_costs(path)
    assert again.splits == splits
    assert costs_to_dict(again) == written
    plan, same = (partition(c, COEXEC) for c in (costs, again))
    assert (plan.total_us, plan.splits) == (same.total_us, same.splits)


def test_the_oldest_version_that_has_all_keys_is_written() -> None:
    data = random_costs(random.Random(1), 2, 3)
    assert costs_to_dict(costs_from_dict(data))["format"] == "pimloop-costs/1"
    entries = with_entries(random.Random(1), data)
    assert costs_to_dict(costs_from_dict(entries))["format"] == "pimloop-costs/2"
    costs = two_devices(a=half("y"))
    assert costs_to_dict(costs)["format"] == "pimloop-costs/3"
    assert costs_to_dict(replace(costs, splits={}))["format"] == "pimloop-costs/1"
    for older in ("pimloop-costs/1", "pimloop-costs/2"):
        with pytest.raises(PartitionerError, match=f"splits is not of '{older}'; call the format"):
            costs_from_dict({**costs_to_dict(costs), "format": older})


@pytest.mark.parametrize("objective", ["sequential", "makespan"])
def test_a_plan_says_what_is_split(objective: str) -> None:
    costs = two_devices(a=half("y", 4.0))
    written = json.loads(json.dumps(partition(costs, COEXEC, objective=objective).to_dict()))
    assert written["format"] == "pimloop-plan/2"
    assert written["assignment"]["a"] == "cpu_serial+pim 1/2"
    plan = check_plan(written)
    assert {name: Split.of(split) for name, split in plan["splits"].items()} == {"a": half("y", 4)}
    whole = partition(costs, objective=objective).to_dict()
    assert whole["format"] == "pimloop-plan/1"
    assert check_plan(whole)["splits"] == {}
    with pytest.raises(JsonError, match="the key splits is missing"):
        check_plan({key: value for key, value in written.items() if key != "splits"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 2}, "node 'a': a split gives 2 of 2 parts to 'pim'"),
        ({"devices": ["cpu_serial"]}, r"splits\.a\[0\]\.devices must"),
        ({"devices": ["cpu_serial", "gpu"]}, "node 'a', split .*unknown device 'gpu'"),
        ({"part_us": [1.0, -1.0]}, r"splits\.a\[0\]\.part_us\[1\] must be a number at least 0"),
        ({"gather_us": {}}, "the node makes"),
        ({"gather_us": {"y": {"cpu": None}}}, r"gather_us\.y\.cpu must be a number, not null"),
        ({"weight_bytes": [1, 2, 3]}, "weight_bytes must"),
    ],
)
def test_mistakes_are_named(change: dict, message: str) -> None:
    data = copy.deepcopy(costs_to_dict(two_devices(a=half("y"))))
    data["splits"]["a"][0].update(change)
    with pytest.raises(PartitionerError, match=f"^mine.json: .*{message}"):
        costs_from_dict(data, name="mine.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "split 'cpu_serial\\+pim 1/2' is offered twice"),
        (
            {"share": 2, "shares": 4},
            "split 'cpu_serial\\+pim 2/4' is the same as 'cpu_serial\\+pim 1/2'",
        ),
        (
            {"devices": ["pim", "cpu_serial"]},
            "split 'pim\\+cpu_serial 1/2' is the same as 'cpu_serial\\+pim 1/2'",
        ),
    ],
)
def test_a_split_under_two_names_is_refused(change: dict, message: str) -> None:
    """Which of the two costs would be its own nobody could say."""
    data = copy.deepcopy(costs_to_dict(two_devices(a=half("y"))))
    data["splits"]["a"].append({**data["splits"]["a"][0], **change})
    with pytest.raises(PartitionerError, match=f"^mine.json: .*node 'a', {message}; remove one"):
        costs_from_dict(data, name="mine.json")
    data["splits"]["a"][1] = {**data["splits"]["a"][0], "share": 1, "shares": 4}
    assert len(costs_from_dict(data).splits["a"]) == 2


def test_splits_of_nobody_are_named() -> None:
    data = costs_to_dict(two_devices(a=half("y")))
    data["splits"] = {"c": data["splits"]["a"]}
    with pytest.raises(PartitionerError, match=r"^mine.json: splits of the unknown node 'c'"):
        costs_from_dict(data, name="mine.json")
