"""What costs and results depend on, as short texts: the keys of the cost store and of states."""

from __future__ import annotations

import hashlib
import os
import platform as machine
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

import host
import rtl
from host.models.graph import Array, Graph
from host.pipeline.options import Options
from host.platform import Platform

_LENGTH = 24  # hexadecimal digits kept of a SHA-256


def digest(*parts: object) -> str:
    """Return a short hash of the texts of `parts`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:_LENGTH]


def device_key(platform: Platform, options: Options) -> str:
    """Return what the cycles of an operator depend on, apart from the operator.

    Device and driver: the sections of the platform that describe them, the RTL, the driver's own
    code, and whether the lanes are simulated as RTL.
    """
    sections = (platform.device, platform.dram, platform.host_memory, platform.driver)
    return digest("device", sections, _rtl_key(), code_key("driver"), options.flavour)


def transfer_key(platform: Platform, options: Options) -> str:
    """Return what the time of a transfer depends on, apart from its size."""
    here = machine_key() if platform.driver.conversion == "measured" else "modelled"
    return digest("transfer", device_key(platform, options), here)


def run_key(graph: Graph, feeds: Mapping[str, Array], platform: Platform, options: Options) -> str:
    """Return what an execution's result depends on, apart from the assignment."""
    content = hashlib.blake2b(digest_size=16)
    for node in graph.nodes:
        content.update(repr((node.id, node.op, node.domain, node.inputs, node.outputs)).encode())
        content.update(repr(sorted(node.attributes.items())).encode())
    for name, value in (*graph.constants.items(), *feeds.items()):
        content.update(repr((name, value.shape, value.dtype)).encode())
        content.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return digest(
        "run", content.hexdigest(), platform, device_key(platform, options), code_key("."),
        options.backend, options.rounds, machine_key(),
    )  # fmt: skip


@cache
def machine_key() -> str:
    """Return what CPU times measured here depend on: processor, cores, ONNX Runtime."""
    return digest("machine", processor(), len(os.sched_getaffinity(0)), _version("onnxruntime"))


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return machine.processor() or machine.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


@cache
def _rtl_key() -> str:
    return _hash_files(Path(str(rtl.__file__)).parent.glob("*.sv"))


@cache
def code_key(*folders: str) -> str:
    """Return a hash of the Python files right in some folders of `host`."""
    root = Path(str(host.__file__)).parent
    return digest([_hash_files((root / folder).glob("*.py")) for folder in folders])


def _hash_files(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in sorted(files):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:_LENGTH]
