"""Every error that the project raises on purpose is a `pimloop.PimloopError`."""

from __future__ import annotations

import importlib
import pkgutil

import pimloop

#: What is raised and caught inside, or by a test's own assertion; no user ever sees them.
INTERNAL = {
    "pimloop.host.models.decompose.registry.KeptWhole",  # an operator is left as it is
    "pimloop.host.pim.device.execution.RefusedError",  # the model device ends a list by a code
    "pimloop.host.store.database.Damage",  # the file is set aside
    "pimloop.partitioner.makespan.exact.OutOfTimeError",  # the search says what it knows
    "pimloop.sim.bench.unit.BenchFailure",  # an assertion of a bench
    "pimloop.sim.device.wire.PeerGoneError",  # becomes DeviceError, with the last log lines
}


def errors() -> dict[str, type[BaseException]]:
    """Return every exception class that a module of the package defines."""
    classes = {}
    for module in pkgutil.walk_packages(pimloop.__path__, "pimloop."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for value in vars(loaded).values():
            if isinstance(value, type) and issubclass(value, BaseException):
                classes[f"{value.__module__}.{value.__name__}"] = value
    return {name: kind for name, kind in classes.items() if name.startswith("pimloop.")}


def test_one_class_catches_every_error():
    classes = errors()
    assert classes.keys() >= INTERNAL
    assert len(classes) > 20
    others = {name for name, kind in classes.items() if not issubclass(kind, pimloop.PimloopError)}
    assert others == INTERNAL


def test_graphs_and_simulator_keep_their_own_kinds():
    assert issubclass(pimloop.PartitionerError, pimloop.PimloopError)
    assert issubclass(pimloop.PartitionerError, ValueError)
    assert issubclass(pimloop.SimError, pimloop.PimloopError)
    assert pimloop.PimloopError.__module__ == "pimloop.errors"
