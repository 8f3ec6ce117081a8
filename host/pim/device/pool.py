"""Several devices of one platform at work at once: each job gets one of them to itself.

A job is a function of a `Worker`. Jobs are independent of each other, so their results do not
depend on how many devices there are. Devices are threads of this process as far as the host is
concerned; each simulator is a process of its own. A job whose simulator dies is done once more on a
fresh device.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeVar, runtime_checkable

from pimloop.errors import PimloopError
from pimloop.host.common.machine import cores
from pimloop.host.pim.device.base import Device, DeviceError
from pimloop.host.pim.device.cached import CachedDevice
from pimloop.host.pim.device.model import DEFAULT_BUFFER_BYTES
from pimloop.host.pim.device.open import Backend, Flavour, device_opener
from pimloop.host.pim.device.usage import CountsUsage, Usage, total_usage
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.quantity import quantity

logger = logging.getLogger(__name__)

T = TypeVar("T")
Item = TypeVar("Item")

#: Attempts of one job: its simulator may die once.
_ATTEMPTS = 2

#: Bound of the wait for the threads of a pool that is closed, seconds.
_JOIN_SECONDS = 30.0

#: In place of a task: close the device and wait for the next one.
_RELEASE: Final = "release"

#: Longest wait without a look at whether there is still something to wait for, seconds.
_WAKE_SECONDS = 1.0


@runtime_checkable
class _SimulatedDevice(Protocol):
    """A device that is a process, which can die."""

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        ...

    def kill(self) -> None:
        """End it at once."""


@dataclass
class Worker:
    """What a job gets: a device of its own, and what earlier jobs left for later ones there."""

    device: Device
    index: int  # which of the pool's devices, 0..jobs-1
    state: dict[str, Any] = field(default_factory=dict)  # new with every fresh device


@dataclass
class _Task:
    """A job and where its result goes."""

    job: Callable[[Worker], Any]
    future: Future[Any]


class DevicePool:
    """Up to `jobs` devices, opened when there is work for them.

    Parameters
    ----------
    platform
        Which device.
    backend
        As for `pimloop.host.pim.device.open.open_device`.
    flavour, trace, assertions, buffer_bytes, log_dir
        As for `pimloop.host.pim.device.open.open_device`; each device has a folder of its own in
        `log_dir`.
    jobs
        Most devices at a time, at least 1; None: the cores of this process. There is one board.
    cache
        Take the cost of lists that were simulated before from the cache.
    timeout
        As for `pimloop.host.pim.device.open.open_device`.
    shared_bytes
        `sim`: the first bytes of device memory are one memory for all devices of the pool. Only
        for a pool whose jobs put nothing there but the same constants at the same addresses.

    Raises
    ------
    PimloopError
        `jobs` is below 1.
    """

    def __init__(
        self,
        platform: Platform,
        backend: Backend = "sim",
        *,
        flavour: Flavour | None = None,
        jobs: int | None = None,
        cache: bool,
        trace: bool = False,
        assertions: bool = True,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        log_dir: Path | None = None,
        timeout: float | None = None,
        shared_bytes: int = 0,
    ) -> None:
        self.jobs = cores() if jobs is None else jobs
        if self.jobs < 1:
            raise PimloopError(f"a pool of {quantity(self.jobs, 'device')}: choose at least 1")
        if backend == "board":
            self.jobs = 1

        def prepare() -> Callable[[int], Device]:
            opener = device_opener(
                platform,
                backend,
                flavour=flavour,
                trace=trace,
                assertions=assertions,
                buffer_bytes=buffer_bytes,
                cache=cache,
                timeout=timeout,
                shared_bytes=shared_bytes,
            )
            return lambda index: opener(None if log_dir is None else log_dir / f"device-{index}")

        self._prepare = prepare
        self._open: Callable[[int], Device] | None = None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._tasks: deque[_Task] = deque()
        self._threads: list[threading.Thread] = []
        self._devices: dict[int, Device] = {}
        self._idle = 0  # threads that wait for a task
        self._running = 0  # jobs at work
        self._quiet = 0  # blocks in which no job may start
        self._releasing = False  # idle devices are to be closed
        self._closing = False
        self._ended: list[Usage] = []  # of devices that are closed

    # ---- Jobs.

    def submit(self, job: Callable[[Worker], T]) -> Future[T]:
        """Queue a job and return where its result will be.

        The job must leave its device idle: wait for every list that it starts. It runs in another
        thread. What it raises is raised by the future's `result`; when its simulator dies it is
        run once more from its start, and `result` raises a DeviceError when that one dies too.

        Raises
        ------
        SimError
            The simulator cannot be built.
        PimloopError
            The pool is closed.
        """
        if self._open is None:
            # Built here: Ctrl-C reaches this thread, not the ones that open the devices.
            self._open = self._prepare()
        future: Future[T] = Future()
        with self._changed:
            if self._closing:
                raise PimloopError("the device pool is closed: open another")
            self._tasks.append(_Task(job, future))
            if self._idle < len(self._tasks) and len(self._threads) < self.jobs:
                index = len(self._threads)
                thread = threading.Thread(
                    target=self._serve, args=(index,), name=f"device-{index}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
            self._changed.notify_all()
        return future

    def map(self, job: Callable[[Worker, Item], T], items: Iterable[Item]) -> list[T]:
        """Run `job(worker, item)` for every item and return the results in the items' order.

        The first failure, in this order, is raised when everything that was queued has ended.
        """

        def bound(item: Item) -> Callable[[Worker], T]:
            return lambda worker: job(worker, item)

        futures = [self.submit(bound(item)) for item in items]
        failures = [future.exception() for future in futures]
        for failure in failures:
            if failure is not None:
                raise failure
        return [future.result() for future in futures]

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Wait until no job is at work, and let none start inside the block.

        For timing what runs on the CPU: a simulator without a list in it sleeps.

        Raises
        ------
        PimloopError
            Called by a job, which would wait for itself.
        """
        with self._changed:
            if threading.current_thread() in self._threads:
                raise PimloopError("a job of the pool waits for all jobs of the pool")
            self._quiet += 1
            try:
                while self._running:
                    self._changed.wait(_WAKE_SECONDS)
            except BaseException:
                self._quiet -= 1
                raise
        try:
            yield
        finally:
            with self._changed:
                self._quiet -= 1
                self._changed.notify_all()

    def release(self) -> None:
        """Wait until no job is at work and close the devices; later jobs get fresh ones.

        Raises
        ------
        PimloopError
            Called by a job, which would wait for itself.
        """
        with self.quiet(), self._changed:
            self._releasing = True
            self._changed.notify_all()
            try:
                while self._devices:
                    self._changed.wait(_WAKE_SECONDS)
            finally:
                self._releasing = False

    @property
    def usage(self) -> Usage:
        """What all devices of the pool, also those that died, have done so far."""
        with self._lock:
            devices = list(self._devices.values())
            ended = list(self._ended)
        return total_usage([*ended, *(d.usage for d in devices if isinstance(d, CountsUsage))])

    @property
    def opened(self) -> int:
        """Devices that are open."""
        with self._lock:
            return len(self._devices)

    def distrust(self) -> None:
        """Let later runs simulate every list on devices like these: values were wrong."""
        with self._lock:
            devices = list(self._devices.values())
        for device in devices:
            if isinstance(device, CachedDevice):
                device.distrust()

    # ---- The end.

    def close(self) -> None:
        """End all devices at once; jobs that were not finished fail. Does nothing again later."""
        with self._changed:
            self._closing = True
            dropped = list(self._tasks)
            self._tasks.clear()
            devices = list(self._devices.values()) if self._running else []
            self._changed.notify_all()
        for task in dropped:
            task.future.cancel()
        for device in devices:
            if isinstance(device, _SimulatedDevice):
                device.kill()  # `close` would wait for the list it is working on
            else:
                device.close()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what was submitted, then close; after an exception close at once."""
        try:
            if kind is None:
                with self._changed:
                    while self._tasks or self._running:
                        self._changed.wait(_WAKE_SECONDS)
        finally:
            self.close()

    # ---- The threads.

    def _serve(self, index: int) -> None:
        """Do tasks on device `index` until the pool closes."""
        worker: Worker | None = None
        while (task := self._next_task(holds_device=worker is not None)) is not None:
            if task == _RELEASE:
                assert worker is not None
                self._retire(worker)
                worker = None
                continue
            try:
                worker = self._do(task, index, worker)
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()
        if worker is not None:
            self._retire(worker)

    def _next_task(self, *, holds_device: bool) -> _Task | Literal["release"] | None:
        """Wait for a task and count it as running; None: the pool closes."""
        with self._changed:
            self._idle += 1
            try:
                while True:
                    if self._closing:
                        return None
                    if self._releasing and holds_device:
                        return _RELEASE
                    if self._tasks and not self._quiet:
                        self._running += 1
                        return self._tasks.popleft()
                    self._changed.wait(_WAKE_SECONDS)
            finally:
                self._idle -= 1

    def _do(self, task: _Task, index: int, worker: Worker | None) -> Worker | None:
        """Do one task; return the worker for the next one, None: it needs a fresh device."""
        if not task.future.set_running_or_notify_cancel():
            return worker
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                worker = worker or self._open_worker(index)
                task.future.set_result(task.job(worker))
                return worker
            except BaseException as error:
                died = isinstance(error, DeviceError) if worker is None else _is_dead(worker.device)
                if worker is not None:
                    # Whatever went wrong, the next job must not see what this one left there.
                    self._retire(worker)
                    worker = None
                if self._closing or not died:
                    task.future.set_exception(error)
                    return None
                if attempt == _ATTEMPTS:
                    task.future.set_exception(_died_again(error))
                    return None
                logger.warning("a simulator died, its job starts again on a fresh one: %s", error)
        raise AssertionError("unreachable")

    def _open_worker(self, index: int) -> Worker:
        assert self._open is not None
        device = self._open(index)
        with self._lock:
            self._devices[index] = device
            closing = self._closing
        worker = Worker(device, index)
        if closing:
            self._retire(worker)
            raise DeviceError("the device pool was closed")
        return worker

    def _retire(self, worker: Worker) -> None:
        """Close a device and keep what it counted."""
        worker.state.clear()
        with self._changed:
            del self._devices[worker.index]
            if isinstance(worker.device, CountsUsage):
                self._ended.append(worker.device.usage)
            self._changed.notify_all()
        worker.device.close()


def _is_dead(device: Device) -> bool:
    return isinstance(device, _SimulatedDevice) and not device.alive


def _died_again(error: BaseException) -> DeviceError:
    """Return the error of a job whose simulator died in every attempt."""
    again = DeviceError(f"the simulator died in {_ATTEMPTS} attempts of the same job: {error}")
    again.__cause__ = error
    return again
