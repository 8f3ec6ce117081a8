"""What a command leaves in the home folder: its own cache, nothing of ONNX Runtime's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.paths import REPOSITORY, TESTS

CODE = """
import numpy as np
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.models.inputs import random_inputs
from support.tiny_models import TINY
config = TINY["bert"]
graph = build_graph(config, RandomWeights(config, 0), LoadOptions(sequence_length=4))
run_reference(graph, random_inputs(graph, 0))
"""


def test_onnx_runtime_keeps_nothing_about_its_user(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(TESTS)])
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in left if "icrosoft" in str(path) or "onnxruntime" in str(path)]
