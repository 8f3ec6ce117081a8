"""Plug-ins of an installed package: policies, platforms, devices, models; broken ones are named."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import shutil
import sys
import textwrap
import types

import pytest
from support.paths import REPOSITORY
from support.tiny_checkpoints import write_checkpoint

import pimloop.host.cli
import pimloop.host.plugins.registry
from pimloop.host.models.loader import LoadOptions
from pimloop.host.planning.policies import find_policies, make_plan
from pimloop.host.platforms.platform import (
    PLATFORM_DIR,
    PlatformError,
    load_platform,
    platform_names,
)
from pimloop.host.plugins import registry as plugins
from pimloop.partitioner.costs import costs_from_dict

POLICY = '''
"""A partition policy."""

def fewest_moves(costs):
    """Everything where most operators can run."""
    return {operator.id: operator.devices[0] for operator in costs.graph.operators}

def careless(costs):
    return {}

def failing(costs):
    raise RuntimeError("no idea")

def talkative(costs):
    return ["pim"]

number = 7
'''

ENTRY_POINTS = """
[pimloop.policies]
fewest_moves = demo_plugin.policy:fewest_moves
careless = demo_plugin.policy:careless
failing = demo_plugin.policy:failing
talkative = demo_plugin.policy:talkative
number = demo_plugin.policy:number
absent = demo_plugin.nowhere:policy

[pimloop.platforms]
boards = demo_plugin.boards

[pimloop.models]
demo = demo_plugin.model:demo
demo-file = demo_plugin.model:PATH
demo-broken = demo_plugin.model:broken
demo-wrong = demo_plugin.model:wrong
"""

COSTS = {
    "format": "pimloop-costs/1",
    "memories": {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
    "nodes": [
        {"id": "a", "op": "Add", "cost_us": {"cpu_serial": 3.0, "cpu_parallel": 2.0, "pim": 1.0}},
        {"id": "b", "op": "Erf", "cost_us": {"cpu_serial": 5.0, "cpu_parallel": 4.0}},
    ],
    "tensors": [
        {"id": "x", "producer": None, "consumers": ["a"], "transfer_us": {"cpu>pim": 1.0}},
        {"id": "t", "producer": "a", "consumers": ["b"], "transfer_us": {"pim>cpu": 2.0}},
        {"id": "y", "producer": "b", "consumers": [], "output": True, "transfer_us": {}},
    ],
}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package with plug-ins: its folder and its metadata on the path."""
    package = tmp_path / "site" / "demo_plugin"
    boards = package / "boards"
    boards.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (boards / "__init__.py").write_text("")
    text = (PLATFORM_DIR / "htg-z920.toml").read_text()
    (boards / "lab-board.toml").write_text(text.replace("HTG-Z920 board", "Board of our lab"))
    (package / "policy.py").write_text(POLICY)
    checkpoint = tmp_path / "checkpoint"
    write_checkpoint(checkpoint, "bert")
    (package / "model.py").write_text(
        textwrap.dedent(f"""
            import pimloop

            PATH = "{tmp_path}/none.onnx"

            def demo(options):
                length, seed = options.sequence_length, options.seed
                return pimloop.load_model("{checkpoint}", tokens=length, seed=seed).graph

            def broken(options):
                raise KeyError("weights")

            def wrong(options):
                return 3
        """)
    )
    info = tmp_path / "site" / "demo_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: demo-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == "demo_plugin"]:
        del sys.modules[name]


@pytest.fixture
def run_command(installed, capsys):
    def call(*arguments):
        code = pimloop.host.cli.main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_policy_of_a_plugin_makes_plans(installed):
    costs = costs_from_dict(COSTS)
    policies = find_policies(["fewest_moves"])
    assert list(policies)[-1] == "fewest_moves"
    plan = make_plan(costs, "fewest_moves", policies["fewest_moves"])
    assert plan.assignment == {"a": "cpu_serial", "b": "cpu_serial"}
    assert plan.total_us == 8.0
    assert not plan.optimal
    overlapped = make_plan(costs, "fewest_moves", policies["fewest_moves"], "makespan")
    assert overlapped.total_us == 8.0
    assert len(overlapped.schedule) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("careless", "'careless' of a plug-in: costs: the assignment leaves out 'a'"),
        ("failing", "'failing' of a plug-in failed: RuntimeError: no idea"),
        ("talkative", "'talkative' of a plug-in returned list"),
        ("number", "demo_plugin.policy:number is int, not a function"),
        ("absent", "package demo-plugin) cannot be loaded from demo_plugin.nowhere:policy"),
        ("none", "unknown policy 'none'; policies of installed plug-ins: fewest_moves"),
    ],
)
def test_a_broken_policy_is_named(installed, name, message):
    with pytest.raises(pimloop.host.cli.PimloopError) as raised:
        make_plan(costs_from_dict(COSTS), name, find_policies([name])[name])
    assert message in str(raised.value)


def test_policies_lists_all_and_names_the_broken_one(run_command):
    code, out, _ = run_command("policies", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)["policies"]}
    assert rows["optimal"]["source"] == "built in"
    assert rows["fewest_moves"]["source"] == "demo-plugin"
    assert rows["fewest_moves"]["description"] == "Everything where most operators can run."
    assert rows["fewest_moves"]["error"] is None
    assert "demo_plugin.nowhere" in rows["absent"]["error"]
    code, out, _ = run_command("policies")
    assert code == 0
    assert "fewest_moves" in out


def test_partition_takes_a_policy_of_a_plugin(run_command, tmp_path):
    (tmp_path / "costs.json").write_text(json.dumps(COSTS))
    base = ["partition", "--costs", tmp_path / "costs.json", "--json", "--policy"]
    code, out, _ = run_command(*base, "fewest_moves")
    assert code == 0
    assert json.loads(out)["policy"] == "fewest_moves"
    code, out, err = run_command(*base, "absent")
    assert (code, out) == (2, "")
    assert "plug-in 'absent'" in err


def test_a_platform_of_a_plugin(installed):
    assert "lab-board" in platform_names()
    platform = load_platform("lab-board", {"pim.lanes": "16"})
    assert platform.title.startswith("Board of our lab")
    assert platform.device.lanes == 16
    assert platform.name == "lab-board (device.lanes=16)"


def test_a_broken_platform_plugin_is_named_and_others_work(installed):
    shutil.rmtree(installed / "boards")
    assert platform_names()[:1] == ["aim"]
    with pytest.raises(PlatformError, match=r"(?s)no platform 'lab-board'.*demo_plugin\.boards"):
        load_platform("lab-board")


def test_models_of_plugins_are_listed(run_command):
    code, out, _ = run_command("models", "list", "--json")
    assert code == 0
    assert {"name": "demo", "package": "demo-plugin"} in json.loads(out)["plugins"]
    code, out, _ = run_command("models", "show", "demo", "--seq", 3, "--json")
    assert code == 0
    assert json.loads(out)["nodes"] == 122
    assert "plug-in of package demo-plugin" in run_command("models")[1]


def test_models_of_a_plugin(installed, run_command, tmp_path):
    arguments = ["--seq", 3, "--device", "model", "--out", tmp_path / "out", "--json"]
    code, out, err = run_command("sim", "demo", *arguments)
    assert code == 0, err
    assert json.loads(out)["sequence_length"] == 3
    for name, message in (
        ("demo-broken", "plug-in 'demo-broken' (pimloop.models) failed: KeyError: 'weights'"),
        ("demo-wrong", "plug-in 'demo-wrong' (pimloop.models) returned int"),
        ("demo-file", "none.onnx"),
    ):
        code, out, err = run_command("sim", name, *arguments)
        assert (code, out) == (2, "")
        assert message in err


def test_the_first_of_two_with_one_name_is_taken(installed, tmp_path, monkeypatch, caplog):
    second = tmp_path / "second" / "other-1.0.dist-info"
    second.mkdir(parents=True)
    (second / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (second / "entry_points.txt").write_text("[pimloop.policies]\nfewest_moves = other:policy\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "second")])
    policy = plugins.plugins(plugins.POLICIES)["fewest_moves"]
    assert policy.package == "demo-plugin"
    assert "is hidden by the one of package demo-plugin" in caplog.text


def blocks(heading):
    """Return the code that docs/plugins.md shows under a heading, one text a block."""
    page = (REPOSITORY / "docs" / "plugins.md").read_text()
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    excerpts = re.findall(r"(?:^    .*\n|^\n)+", section, re.MULTILINE)
    return [text for block in excerpts if (text := textwrap.dedent(block).strip())]


def test_the_policy_of_the_page():
    space = {}
    (code, _) = blocks("A policy")
    assert len(code.splitlines()) < 40
    exec(code, space)
    costs = costs_from_dict(COSTS)
    plan = make_plan(costs, "products_only", space["products_only"])
    assert plan.assignment == {"a": "cpu_parallel", "b": "cpu_parallel"}


def test_the_model_of_the_page():
    space = {}
    (code,) = blocks("A model")
    assert len(code.splitlines()) < 40
    exec(code, space)
    graph = space["my_bert"](LoadOptions(sequence_length=4))
    assert graph.name == "my-bert"
    assert sum(node.op == "Erf" for node in graph.nodes) == 3


def test_installed_plugins_do_not_disturb_tests(monkeypatch):
    """An entry point of a package outside of the temporary folder, as pip would install it."""

    class Installed:
        name = "stranger"

        def locate_file(self, path):
            return f"/usr/lib/python3/site-packages/{path}"

    entry = types.SimpleNamespace(
        name="stranger", value="stranger:policy", group="pimloop.policies", dist=Installed()
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **wanted: [entry])
    assert pimloop.host.plugins.registry.plugins("pimloop.policies") == {}
