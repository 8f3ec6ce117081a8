"""Surroundings that go wrong: full memory, closed sockets, stale locks, runs at once, clocks."""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fault_tools import MARK, PATIENCE, REPOSITORY, build_all, pimloop, run, wait_for_none
from support.fixture_device import ID, config

from pimloop.host.platforms.platform import load_platform
from pimloop.sim.device.config import SimConfig, build_spec
from pimloop.sim.device.process import SimDevice
from pimloop.sim.errors import DeviceError
from pimloop.sim.verilator.build import build, build_root

GEMM = pimloop("gemm", "4", "64", "256", "--platform", "htg-z920", "--json")


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    build_all()


@pytest.fixture(scope="module")
def expected() -> dict[str, object]:
    """What GEMM prints when nothing is wrong."""
    result = run(GEMM)
    assert result.returncode == 0, result.stderr
    return steady(result.stdout)


def steady(text: str) -> dict[str, object]:
    """Return what a run printed without what differs from run to run."""
    result = json.loads(text)
    assert isinstance(result, dict)
    return {key: result[key] for key in ("cycles", "bit_exact") if key in result} | {
        "keys": sorted(result)
    }


# ---- Nothing of a run has a name that could be full, stale or open to others.


def test_nothing_shared_has_a_name() -> None:
    named = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()}
    with SimDevice(config()) as device:
        now = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()}
        assert not {name for name in now - named if "pimloop" in name.lower()}
        links = [os.readlink(link) for link in Path(f"/proc/{device.pid}/fd").iterdir()]
        kinds = {link.split(":")[0].split(" ")[0] for link in links}
        assert {"/memfd", "socket"} <= kinds
        for link in links:
            assert link.startswith(("/memfd:", "socket:", "/dev/null", "anon_inode:", "pipe:")), (
                link
            )
        # The folder that leads to them is for the user alone: the kernel refuses all others.
        folder = os.stat(f"/proc/{device.pid}/fd")
        assert (folder.st_mode & 0o077, folder.st_uid) == (0, os.geteuid())


FULL_SHM = """
mount -t tmpfs -o size=4k none /dev/shm || exit 77
cat /dev/zero > /dev/shm/full 2> /dev/null
exec "$@"
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux")
def test_full_shared_memory_file_system_does_not_matter(expected: dict[str, object]) -> None:
    result = run(["unshare", "-rm", "sh", "-c", FULL_SHM, "sh", *GEMM])
    if result.returncode == 77 or "unshare" in result.stderr:
        pytest.skip("this machine lets nobody mount in a namespace of its own")
    assert result.returncode == 0, result.stderr
    assert steady(result.stdout) == expected


def test_memory_that_cannot_be_had_is_one_error() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(
        DeviceError, match=r"cannot set up a simulator and 4611686018427387904 bytes of"
    ):
        SimDevice(config(memory_bytes=1 << 62))
    assert len(os.listdir("/proc/self/fd")) == before


def test_limit_of_file_sizes_is_one_error() -> None:
    result = run(["sh", "-c", 'ulimit -f 1024 && exec "$@"', "sh", *GEMM])
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("pimloop gemm: cannot set up a simulator and 67108864 bytes")
    assert result.stdout == ""


FEW_FILES = """
import os, resource, sys
from pimloop.sim.device.config import SimConfig
from pimloop.sim.device.process import SimDevice
from pimloop.sim.errors import DeviceError
sys.path.insert(0, "tests")
from support.fixture_device import ID, config
with SimDevice(config()) as device:
    device.read32(ID)
free = len(os.listdir("/proc/self/fd"))
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for more in range(2, 14):  # with none at all not even the sources can be read
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + more, hard))
    try:
        SimDevice(config()).close()
        print("open")
    except DeviceError as error:
        print("error", str(error).splitlines()[0])
    assert len(os.listdir("/proc/self/fd")) == free, more
"""


def test_too_few_open_files_is_one_error() -> None:
    """Whichever file is the first that cannot be opened."""
    result = run([sys.executable, "-c", FEW_FILES])
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "open"
    errors = [line for line in lines if line != "open"]
    assert len(errors) > 3
    assert all("Too many open files" in line or "died" in line for line in errors), errors


# ---- Sockets.


@pytest.mark.parametrize(
    "close",
    [
        lambda device: device._socket.close(),
        lambda device: device._socket.shutdown(socket.SHUT_RDWR),
        lambda device: os.close(device._socket.detach()),
    ],
    ids=["closed", "shut down", "closed underneath"],
)
def test_lost_socket_is_an_error_and_ends_the_simulator(
    close: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, str(id(close)))
    with SimDevice(config()) as device:
        assert callable(close)
        close(device)
        with pytest.raises(DeviceError, match=r"its socket failed|the simulator died"):
            device.read32(ID)
        with pytest.raises(DeviceError, match="cannot be used"):
            device.read32(ID)
        assert not device.alive
    wait_for_none(str(id(close)))


def test_closed_socket_of_an_idle_device_ends_its_simulator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(MARK, "idle-device")
    device = SimDevice(config())
    device._socket.close()
    wait_for_none("idle-device")
    device.close()


# ---- Locks, and runs beside each other.


def test_stale_locks_do_not_matter(
    expected: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lock files stay behind when their holder is killed; only a living holder counts."""
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path))
    spec = build_spec(SimConfig(params=load_platform("htg-z920").rtl_parameters()))
    name = build(spec).parent.name
    stale = build_root() / f".{name}.lock"
    stale.touch()
    leftover = build_root() / f".{name}.tmp"
    leftover.mkdir(exist_ok=True)
    for file in ("lists-1.lock", "lists-1.sqlite-wal", "lists-1.sqlite-shm"):
        (tmp_path / file).write_bytes(b"left by a run that was killed")
    try:
        for _ in range(2):
            result = run(GEMM)
            assert result.returncode == 0, result.stderr
            assert steady(result.stdout) == expected
    finally:
        leftover.rmdir()


def test_runs_at_once_in_one_clone_do_not_disturb_each_other(
    expected: dict[str, object], tmp_path: Path
) -> None:
    environment = os.environ | {"PIMLOOP_CACHE_DIR": str(tmp_path)}
    hosts = [
        subprocess.Popen(
            GEMM,
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for host in hosts:
        output, errors = host.communicate(timeout=PATIENCE)
        assert host.returncode == 0, errors
        assert steady(output) == expected


# ---- Clocks.

JUMPING = """
import os, random, time
steady = time.time
def jumping():
    return steady() + random.uniform(-1e8, 1e8)
time.time = jumping
folder = os.environ.get("PIMLOOP_TEST_JUMPS")
if folder:
    open(os.path.join(folder, os.path.basename(os.readlink("/proc/self/exe"))), "w").close()
"""


def test_jumps_of_the_clock_do_not_matter(expected: dict[str, object], tmp_path: Path) -> None:
    """In the host and in the simulator; waits of both are bounded by a clock that does not jump."""
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    seen = tmp_path / "seen"
    seen.mkdir()
    result = run(GEMM, PYTHONPATH=str(tmp_path), PIMLOOP_TEST_JUMPS=str(seen))
    assert result.returncode == 0, result.stderr
    assert steady(result.stdout) == expected
    assert {path.name for path in seen.iterdir()} >= {
        "simulator",
        Path(os.path.realpath(sys.executable)).name,
    }


def test_no_wait_uses_a_clock_that_jumps() -> None:
    """`time.time` is for time stamps: the ages of builds, and the log of requests."""
    uses = []
    for package in ("sim", "host", "partitioner", "rtl"):
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name)
                    and (node.value.id, node.attr) == ("time", "time")
                ):
                    uses.append(path.relative_to(REPOSITORY).as_posix())
    assert sorted(uses) == ["sim/device/server.py", "sim/verilator/build.py"]
