"""Runs tests on changed Python modules, each time in a fork of one process that is warm.

The warm process has imported pytest and the libraries, and nothing of the project. A fork puts the
changed text of some modules in the place of their files, imports the project anew and runs the
named tests, so that a mutant costs its tests and little more.

    with Forks() as forks:
        outcome = forks.run({"host/common/golden.py": text}, ["tests/host/common/test_golden.py"])
        assert outcome.failed

Tests that start a process of their own see the files as they are: they cannot catch a mutant here.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]

#: Bounds of a fork: a fault may well make a loop endless.
CPU_SECONDS = 30
MEMORY_BYTES = 6 << 30

_WARM = (
    "faulthandler",
    "hypothesis",
    "_hypothesis_pytestplugin",
    "hypothesis.strategies",
    "highspy",
    "html.parser",
    "jinja2",
    "ml_dtypes",
    "networkx",
    "numpy",
    "onnx",
    "onnxruntime",
    "pdb",
    "rich.console",
    "scipy.optimize",
    "scipy.sparse.csgraph",
    "sqlite3",
)


@dataclass(frozen=True)
class Outcome:
    """What the tests of one fork said."""

    passed: int
    failed: tuple[str, ...]  # tests whose body failed
    broken: str  # why they could not be run to a result, or ""


class Forks:
    """The warm process; use it in `with`."""

    def __init__(self) -> None:
        # One thread each: a fork keeps no others.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, changed: Mapping[str, str], tests: Sequence[str], *, cpu_seconds: int = CPU_SECONDS
    ) -> Outcome:
        """Run tests until the first failure.

        Parameters
        ----------
        changed
            Path of a module, relative to the repository, to its text.
        tests
            What pytest is given: files, node ids, options.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"changed": dict(changed), "tests": list(tests), "cpu_seconds": cpu_seconds}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the process that runs mutants has ended; see its messages above")
        fields = json.loads(answer)
        return Outcome(fields["passed"], tuple(fields["failed"]), fields["broken"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


# ---- the warm process --------------------------------------------------------------------------


def _serve() -> None:
    """Answer requests, one line of JSON each, until the input ends."""
    import importlib.metadata
    import tempfile

    sys.path[0] = str(REPOSITORY)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in _WARM:
        importlib.import_module(name)
    for plugin in importlib.metadata.entry_points(group="pytest11"):
        plugin.load()
    for line in sys.stdin:
        request = json.loads(line)
        with (
            tempfile.TemporaryFile("w+") as output,
            tempfile.TemporaryFile("w+") as result,
            tempfile.TemporaryDirectory() as folder,
        ):
            child = os.fork()
            if child == 0:
                request["tests"].append(f"--basetemp={folder}/tests")
                _child(request, output.fileno(), result.fileno())
            status = _wait(child)
            result.seek(0)
            output.seek(0)
            text = result.read()
            answer = {"passed": 0, "failed": [], "broken": f"ended by {status}: {output.read()}"}
            if text:
                answer = json.loads(text)
                if answer["broken"]:
                    answer["broken"] += ": " + output.read()
        print(json.dumps(answer), file=answers, flush=True)


def _wait(child: int) -> str:
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "its time limit" if number == signal.SIGXCPU else f"signal {number}"
    return f"exit code {os.WEXITSTATUS(status)}"


def _child(request: dict, output: int, result: int) -> None:
    """Run the tests of a request, write what they say, and end this process."""
    resource.setrlimit(resource.RLIMIT_CPU, (request["cpu_seconds"], request["cpu_seconds"] + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 1
    try:
        answer = _tests(request["changed"], request["tests"])
        os.write(result, json.dumps(answer).encode())
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tests(changed: dict[str, str], tests: list[str]) -> dict:
    import hypothesis
    import pytest

    sys.meta_path.insert(0, _Changed(changed))
    # The first failure is all that is asked for, and the same one each time.
    hypothesis.settings.register_profile(
        "mutants",
        database=None,
        deadline=None,
        derandomize=True,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutants")
    recorder = _Recorder()
    options = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:randomly"]
    code = pytest.main([*options, *tests], plugins=[recorder])
    expected = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    broken = "" if code in expected else f"pytest ended with {int(code)}"
    if code == pytest.ExitCode.TESTS_FAILED and not recorder.failed:
        broken = "no test failed in its body"
    return {"passed": recorder.passed, "failed": recorder.failed, "broken": broken}


class _Recorder:
    """A pytest plug-in: what passed, and what failed while it ran (not while it was collected)."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed and report.when in ("setup", "call"):
            self.failed.append(report.nodeid)
        elif report.passed and report.when == "call":
            self.passed += 1


def _module(path: str) -> str:
    """Return the name of the module in a file: packages lie beside `pimloop`, which has links."""
    name = re.sub(r"(/__init__)?\.py$", "", path).replace("/", ".")
    return name if name.partition(".")[0] == "pimloop" else f"pimloop.{name}"


class _Changed:
    """An importer that reads some modules from memory."""

    def __init__(self, changed: Mapping[str, str]) -> None:
        self._texts = {_module(path): (path, text) for path, text in changed.items()}

    def find_spec(self, name: str, path=None, target=None):
        import importlib.util

        if name not in self._texts:
            return None
        place, _ = self._texts[name]
        return importlib.util.spec_from_file_location(name, REPOSITORY / place, loader=self)

    def create_module(self, spec) -> None:
        return None

    def exec_module(self, module) -> None:
        place, text = self._texts[module.__name__]
        exec(compile(text, str(REPOSITORY / place), "exec"), module.__dict__)

    def get_filename(self, name: str) -> str:
        return str(REPOSITORY / self._texts[name][0])

    def is_package(self, name: str) -> bool:
        return self._texts[name][0].endswith("__init__.py")


if __name__ == "__main__":
    _serve()
