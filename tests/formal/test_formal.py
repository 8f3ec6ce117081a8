"""The fastest proofs in `make test`, all of them in `make test-full`; see rtl/tools/formal.py."""

import pytest

from pimloop.rtl.tools.formal import PROOFS, QUICK, ROOT, all_tasks, run_task

TASKS = {task.name: task for task in all_tasks()}


def test_every_patch_of_the_control_path_breaks_some_proof():
    used = {task.mutant for task in TASKS.values() if task.mutant is not None}
    folders = (ROOT / "tests" / "mutants" / kind for kind in ("dram", "control"))
    assert used == {patch for folder in folders for patch in folder.glob("*.patch")}


def test_every_proof_has_a_cover_and_every_part_a_task():
    for proof in PROOFS:
        tasks = list(proof.tasks())
        assert any(task.kind == "cover" for task in tasks)
        harness = (ROOT / "tests" / "formal" / "sv" / f"{proof.top}.sv").read_text("utf-8")
        parts = {int(word.split(",")[0]) for word in harness.split("`HOLDS(")[1:]}
        assert parts == set(range(1, proof.parts + 1))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.full) for n in TASKS]
)
def test_task(name, tmp_path):
    task = TASKS[name]
    assert run_task(task, tmp_path) in task.wanted
