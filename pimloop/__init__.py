"""Hardware-in-the-loop co-simulation of a DRAM processing-in-memory (PIM) device.

    import pimloop

    run = pimloop.simulate("bert-small", "htg-z920", tokens=16)
    run                                # in a notebook: every schedule, the fastest first
    run.operators()                    # where every operator runs, and what it takes

`simulate` goes the whole way, as `pimloop sim` does; `load_model`, `platform`, `profile`,
`partition` and `execute` are its steps, and `Device` is the PIM alone, operation by operation.
What is not listed here is not part of the interface and may change without notice.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pimloop._api import (
        build_model,
        execute,
        load_model,
        model_config,
        partition,
        platform,
        platforms,
        profile,
        simulate,
    )
    from pimloop._device import Device
    from pimloop._results import Costs, Execution, Model, Plan, Run
    from pimloop.errors import PimloopError
    from pimloop.host.common.schema import choice, number
    from pimloop.host.devices.kinds import SessionDevice
    from pimloop.host.models.config import ModelConfig
    from pimloop.host.models.graph import Graph, Node
    from pimloop.host.models.loader import LoadOptions
    from pimloop.host.planning.coverage import multiply_adds
    from pimloop.host.platforms.platform import Platform
    from pimloop.partitioner.costs import CostGraph
    from pimloop.partitioner.errors import PartitionerError
    from pimloop.sim.errors import SimError

#: The version of this tree; `pyproject.toml` and `pimloop --version` take it from here.
__version__ = "0.1.0"

__all__ = [
    "CostGraph",
    "Costs",
    "Device",
    "Execution",
    "Graph",
    "LoadOptions",
    "Model",
    "ModelConfig",
    "Node",
    "PartitionerError",
    "PimloopError",
    "Plan",
    "Platform",
    "Run",
    "SessionDevice",
    "SimError",
    "__version__",
    "build_model",
    "choice",
    "execute",
    "load_model",
    "model_config",
    "multiply_adds",
    "number",
    "partition",
    "platform",
    "platforms",
    "profile",
    "simulate",
]

#: Where a name comes from. It is imported when it is asked for: this package is also that of the
#: server in the simulator, which has no use for ONNX Runtime.
_PLACES = {
    "CostGraph": "pimloop.partitioner.costs",
    "Costs": "pimloop._results",
    "Device": "pimloop._device",
    "Execution": "pimloop._results",
    "Graph": "pimloop.host.models.graph",
    "LoadOptions": "pimloop.host.models.loader",
    "Model": "pimloop._results",
    "ModelConfig": "pimloop.host.models.config",
    "Node": "pimloop.host.models.graph",
    "PartitionerError": "pimloop.partitioner.errors",
    "PimloopError": "pimloop.errors",
    "Plan": "pimloop._results",
    "Platform": "pimloop.host.platforms.platform",
    "Run": "pimloop._results",
    "SessionDevice": "pimloop.host.devices.kinds",
    "SimError": "pimloop.sim.errors",
    "build_model": "pimloop._api",
    "choice": "pimloop.host.common.schema",
    "execute": "pimloop._api",
    "load_model": "pimloop._api",
    "model_config": "pimloop._api",
    "multiply_adds": "pimloop.host.planning.coverage",
    "number": "pimloop.host.common.schema",
    "partition": "pimloop._api",
    "platform": "pimloop._api",
    "platforms": "pimloop._api",
    "profile": "pimloop._api",
    "simulate": "pimloop._api",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pimloop' has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
