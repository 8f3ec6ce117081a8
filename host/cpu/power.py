"""The power of this machine's CPU, measured by RAPL: idle, with one core and with all at work.

The work is what the devices of the CPU do, products in ONNX Runtime. Packages count whole: what
caches, memory controllers and other processes take in the meantime is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from time import perf_counter, sleep

import numpy as np
from onnx import TensorProto, helper

from pimloop.host.common.machine import cores, processor
from pimloop.host.cpu.rapl import NoRaplError, Package, packages, taken_uj
from pimloop.host.store.closure import code_key
from pimloop.host.store.cost_store import Cost, CostStore
from pimloop.host.store.folder import cache_folder

#: Seconds of each measurement; counters are renewed every millisecond.
SECONDS = 0.3

_SIZE = 512  # rows and columns of the product: it fits a second-level cache


@dataclass(frozen=True)
class CpuPower:
    """Powers of all packages together, milliwatts, measured."""

    idle_mw: Fraction
    serial_mw: Fraction  # with one core at work
    parallel_mw: Fraction  # with all cores at work that this process may use

    @property
    def core_mw(self) -> Fraction:
        """What one core at work takes beyond the idle machine."""
        return self.serial_mw - self.idle_mw

    @property
    def parallel_cores(self) -> Fraction:
        """All cores at work, counted in such that work alone: their clocks are lower together."""
        return (self.parallel_mw - self.idle_mw) / self.core_mw


@cache
def cpu_power() -> CpuPower | str:
    """Return the power of this machine's CPU, or why it is not known.

    What was measured is kept in the cost store, so that energies that were counted with it stay
    valid; it is measured again when counters can no longer be read, or the machine is another.
    """
    try:
        packages()
        with CostStore(cache_folder()) as store:
            return _stored(store) or _kept(store, measure_power())
    except NoRaplError as error:
        return str(error)


@cache
def measure_again() -> None:
    """Measure the power of this machine's CPU in place of the one that was kept.

    Once a process, so that all phases and points of a run count with the same power. Where it
    cannot be measured now, `cpu_power` says why, or has what was measured before.
    """
    try:
        packages()
        with CostStore(cache_folder()) as store:
            _kept(store, measure_power())
    except NoRaplError:
        pass
    cpu_power.cache_clear()


#: What is kept of a machine, in the order of the fields of `CpuPower`.
_KEPT = ("idle, mW", "one core, mW", "all cores, mW")


def _context() -> str:
    """Return what a power depends on: processor, cores, the work and the code that measures."""
    import onnxruntime as ort  # see `_product`

    work = f"onnxruntime {ort.__version__}"
    return f"power of {processor()}, {cores()} cores, {work}, {code_key((__name__,))}"


def _stored(store: CostStore) -> CpuPower | None:
    """Return the power that an earlier process measured; milliwatts stand in place of times."""
    kept = [store.find(_context(), "power of the CPU", name) for name in _KEPT]
    return CpuPower(*(Fraction(each.us) for each in kept if each)) if all(kept) else None


def _kept(store: CostStore, power: CpuPower) -> CpuPower:
    """Keep a power; return it as the store has it."""
    values = [float(mw) for mw in (power.idle_mw, power.serial_mw, power.parallel_mw)]
    store.add(
        Cost(_context(), "power of the CPU", name, mw)
        for name, mw in zip(_KEPT, values, strict=True)
    )
    return CpuPower(*map(Fraction, values))


def measure_power(seconds: float = SECONDS) -> CpuPower:
    """Measure the power of this machine's CPU.

    Parameters
    ----------
    seconds
        Of each of the three measurements.

    Raises
    ------
    NoRaplError
        When no counter can be read, or one core at work takes no more than the idle machine.
    """
    packs = packages()  # before sessions are opened
    idle = _mean_mw(packs, lambda: sleep(1e-3), seconds)
    serial = _mean_mw(packs, _product(1), seconds)
    power = CpuPower(idle, serial, _mean_mw(packs, _product(cores()), seconds))
    if not idle < power.serial_mw <= power.parallel_mw:
        watts = (float(mw) / 1000 for mw in (idle, power.serial_mw, power.parallel_mw))
        shown = ", ".join(f"{each:.3g}" for each in watts)
        raise NoRaplError(
            f"has no RAPL that tells work from none ({shown} W idle, with one core and with all"
            " cores at work): it is a virtual machine, or busy with other work"
        )
    return power


def _mean_mw(packs: Sequence[Package], work: Callable[[], object], seconds: float) -> Fraction:
    """Return the mean power while some work is done again and again, milliwatts."""
    work()
    start, before = perf_counter(), [package.read_uj() for package in packs]
    while perf_counter() - start < seconds:
        work()
    after, end = [package.read_uj() for package in packs], perf_counter()
    return Fraction(taken_uj(packs, before, after)) / (1000 * Fraction(end - start))


def _product(threads: int) -> Callable[[], object]:
    """Return a product of matrices on so many threads."""
    # Here, so that reading a platform file does not load ONNX Runtime.
    import onnxruntime as ort

    from pimloop.host.cpu.operators import session_options

    a, b, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [_SIZE, _SIZE]) for name in "aby"
    )
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["y"])], "g", [a, b], [y])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    session = ort.InferenceSession(
        model, session_options(threads), providers=["CPUExecutionProvider"]
    )
    ones = np.ones((_SIZE, _SIZE), np.float32)
    return lambda: session.run(None, {"a": ones, "b": ones})
