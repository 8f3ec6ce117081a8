"""The wheel: one top-level name, and it runs in a folder that has packages of the rooms' names."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.tiny_checkpoints import write_checkpoint

from pimloop.sim.paths import REPOSITORY
from pimloop.sim.verilator.build import build_root


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of this tree: of the files that git knows, as a clone has them."""
    clone, out = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z", "-c", "-o", "--exclude-standard"],
        capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, copy = REPOSITORY / name, clone / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            copy.symlink_to(source.readlink())
        elif source.is_file():
            copy.write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(out), str(clone)]
    subprocess.run(command, check=True, timeout=300)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_occupies_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pimloop"}
    for wanted in (
        "pimloop/py.typed",
        "pimloop/schemas/pimloop-report-3.schema.json",
        "pimloop/host/platforms/htg-z920.toml",
        "pimloop/partitioner/paper/data/paper_tables.json",
        "pimloop/rtl/pim_top.sv",
        "pimloop/rtl/isa.toml",
        "pimloop/rtl/tables/isa.py",
        "pimloop/rtl/tools/lint.py",
        "pimloop/rtl/synth/pim_lanes_stand_in.sv",
        "pimloop/sim/verilator/main.cpp",
        "pimloop/sim/rtl/pimloop_tb.sv",
    ):
        assert wanted in names


def test_it_runs_beside_packages_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    """The command and a notebook's cell, in a folder whose own `sim`, `host` and `rtl` raise."""
    installed, work = tmp_path / "installed", tmp_path / "work"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(installed), str(wheel)], check=True, timeout=300)
    for name in ("sim", "host", "rtl", "partitioner"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise ImportError('a package of the user')\n")
    # The simulator that the clone built is that of the wheel: the same sources.
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "PIMLOOP_BUILD_DIR": str(build_root()),
        "PIMLOOP_CACHE_DIR": str(tmp_path / "cache"),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=work, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import pimloop; print(pimloop.__file__)").startswith(str(installed))
    write_checkpoint(work / "tiny", "bert")
    said = run("-m", "pimloop", "sim", "tiny", "--seq", "4", "--out", "out")
    assert "verification: passed" in said
    cell = "import pimloop; run = pimloop.simulate('tiny', tokens=4); print(run._repr_html_())"
    assert "verification passed" in run("-c", cell)
