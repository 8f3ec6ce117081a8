"""The simulated device as the host sees it: the `Device` interface over a simulator process.

`SimDevice` builds the simulator when needed, starts it as a process of its own with the device
server of `pimloop.sim.device.server` in it, and talks to it over a socket pair; operands and
results go through memory that both processes map, and so is the device's own memory, for who can
compute with the same bits without a simulation. Nothing of it has a name in the file system:
memories and log are anonymous files, so whatever ends either process leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import signal
import socket
import subprocess
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pimloop.sim.device.config import TOP, SimConfig, build_spec
from pimloop.sim.device.dump import dump_registers
from pimloop.sim.device.wire import PeerGoneError, receive, send
from pimloop.sim.errors import DeviceError, DeviceTimeoutError, SimError
from pimloop.sim.verilator.build import build
from pimloop.sim.verilator.cocotb_environment import cocotb_environment

#: A step of `SimDevice.script`: its name and its numbers.
Step = tuple[str, *tuple[int, ...]]
_STEP_ARGUMENTS = {"read": 1, "write": 2, "delay": 1, "reset": 0}

#: Most fabric clocks of one pause in a script.
MOST_DELAY = 1_000_000

#: Seconds given to a simulator to end in order before it is killed.
CLOSE_SECONDS = 10.0

#: The same where it counts coverage, up to 25 MB, which it writes then; the machine may be busy.
COVERAGE_SECONDS = 300.0

#: Seconds after its bound in which a simulator has to say that no interrupt came: it looks at the
#: clock about every 20 ms. Afterwards it hangs.
GRACE_SECONDS = 2.0

# Missing in Python's mmap; the same number on every Linux that Verilator runs on.
_MAP_FIXED = 0x10

#: In `log_dir`: a JSON line for every request.
EVENTS = "simulator.jsonl"

#: Lines and bytes of the log shown in an error.
_TAIL_LINES = 15
_TAIL_BYTES = 8192


@dataclass(frozen=True)
class SimStats:
    """What a simulator has done since its start."""

    cycles: int  # fabric clocks
    fast_cycles: int  # of them, in stretches in which Python was not called
    fast_seconds: float  # wall time of those stretches

    @property
    def cycles_per_second(self) -> float:
        """Speed of the fast stretches in fabric clocks; 0 when there was none."""
        return self.fast_cycles / self.fast_seconds if self.fast_seconds > 0 else 0.0


class SharedMemory:
    """The first bytes of the memory of several devices: one copy, which all of them see.

    For operands that every one of them loads to the same addresses: loading them again writes the
    bytes that are there. Close it after the devices, or before: each keeps its own hold.

    Parameters
    ----------
    nbytes
        Size; rounded down to whole pages.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes // mmap.PAGESIZE * mmap.PAGESIZE
        self.descriptor = _anonymous_file("pimloop-shared", self.nbytes)
        self.close = weakref.finalize(self, os.close, self.descriptor)


class SimDevice:
    """A PIM device simulated from its RTL.

    Parameters
    ----------
    config
        What to simulate.
    shared
        Memory that this device has in common with others; default: all memory is its own.

    Attributes
    ----------
    buffer : NDArray[uint8], shape (config.memory_bytes,)
        Memory shared with the device.
    buffer_address : int
        Its address as the device sees it.
    memory : NDArray[uint8], shape (capacity,)
        The device's own memory as the simulator keeps it, for the host to look at or to change
        while the device is idle; empty for a device without one. A page costs memory when touched.
    build_name : str
        Name of the build that runs: it ends in a hash of everything the build depends on.

    Raises
    ------
    SimError
        The simulator cannot be built.
    DeviceError
        It does not start.
    """

    def __init__(self, config: SimConfig | None = None, shared: SharedMemory | None = None) -> None:
        self.config = config or SimConfig()
        self._shared = shared if shared is not None and shared.nbytes else None
        program = build(build_spec(self.config))
        self.build_name = program.parent.name
        self.buffer_address = self.config.memory_address
        self._exchange_lock = threading.Lock()
        self._failure: str | None = None  # why the device cannot be used any more
        self._killed = False  # it may still look alive for a moment
        with contextlib.ExitStack() as stack:
            try:
                memory_fd = _anonymous_file("pimloop-memory", self.config.memory_bytes)
                stack.callback(os.close, memory_fd)
                self.buffer: NDArray[np.uint8] = _map_whole(memory_fd)
                dram_fd = _anonymous_file("pimloop-dram", 0)  # the simulator knows its size
                stack.callback(os.close, dram_fd)
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                stack.callback(theirs.close)
                failed = stack.enter_context(contextlib.ExitStack())
                failed.callback(ours.close)
                self._log_fd = self._open_log()
                failed.callback(os.close, self._log_fd)
                self._socket = ours
                self._process = self._start(program, memory_fd, dram_fd, theirs)
            except OSError as error:
                raise DeviceError(
                    f"cannot set up a simulator and {self.config.memory_bytes} bytes of memory to "
                    f"share with it: {error.strerror or error}; see `ulimit -a`"
                ) from error
            failed.pop_all()  # from here on the process owns them
            theirs.close()  # now only the simulator has it, so its end is noticed
            # Runs at `close`, when the object is collected, and when the host ends.
            self._cleanup = weakref.finalize(self, _end, self._process, self._socket, self._log_fd)
            try:
                self._receive(self.config.start_timeout, "start")
                self.memory: NDArray[np.uint8] = _map_whole(dram_fd)
                if self._shared is not None:
                    _map_over(self.memory, self._shared)
            except BaseException:
                self._cleanup()
                raise

    def _open_log(self) -> int:
        folder = self.config.log_dir
        if folder is None:
            return _anonymous_file("pimloop-log", 0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / EVENTS).is_symlink():
                raise OSError(errno.ELOOP, f"{EVENTS} is a symbolic link")
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            return os.open(folder / "simulator.log", flags, 0o644)
        except OSError as error:
            raise SimError(
                f"cannot write the simulator's log in {folder}: {error.strerror}; "
                "choose another log_dir"
            ) from error

    def _start(
        self, program: Path, memory_fd: int, dram_fd: int, theirs: socket.socket
    ) -> subprocess.Popen[bytes]:
        config = self.config
        environment = os.environ | cocotb_environment(TOP, "pimloop.sim.device.server")
        environment |= {
            "COCOTB_ANSI_OUTPUT": "0",
            "COCOTB_RESULTS_FILE": os.devnull,
            "COCOTB_REWRITE_ASSERTION_FILES": "",
            "PIMLOOP_CLOCK_PERIOD": str(config.clock_period),
            "PIMLOOP_DRAM_FD": str(dram_fd),
            "PIMLOOP_HOST_PID": str(os.getpid()),
            "PIMLOOP_MEMORY_ADDRESS": str(config.memory_address),
            "PIMLOOP_MEMORY_FD": str(memory_fd),
            "PIMLOOP_SOCKET_FD": str(theirs.fileno()),
        }
        inherited = [memory_fd, dram_fd, theirs.fileno()]
        if self._shared is not None:
            environment["PIMLOOP_SHARED_DRAM_FD"] = str(self._shared.descriptor)
            inherited.append(self._shared.descriptor)
        if config.log_dir is not None:
            environment["PIMLOOP_EVENT_LOG"] = str(config.log_dir.resolve() / EVENTS)
        command = [str(program), f"+clock_period={config.clock_period}"]
        command += config.plusargs()
        if config.command_trace is not None:
            try:
                config.command_trace.touch()
            except OSError as error:
                raise SimError(
                    f"cannot write the command trace {config.command_trace}: {error.strerror}"
                ) from error
        if config.coverage is not None:
            command.append(f"+verilator+coverage+file+{config.coverage.resolve()}")
        try:
            return subprocess.Popen(
                command,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log_fd,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                start_new_session=True,  # Ctrl-C at the terminal is for the host alone
            )
        except OSError as error:
            raise DeviceError(f"cannot start the simulator {program}: {error.strerror}") from error

    # ---- The Device interface.

    def read32(self, offset: int) -> int:
        """Return the register at `offset` (bytes).

        Raises
        ------
        DeviceError
            The bus answers with an error, or the simulator died.
        """
        return int(self._exchange("read32", offset=int(offset))["value"])

    def write32(self, offset: int, value: int) -> None:
        """Write `value`, 0..2**32-1, to the register at `offset` (bytes).

        Raises
        ------
        DeviceError
            The bus answers with an error, or the simulator died.
        """
        self._exchange("write32", offset=int(offset), value=int(value))

    def wait_irq(self, timeout: float) -> None:
        """Wait until the interrupt line is high; at once when it is.

        Parameters
        ----------
        timeout
            Bound in seconds of wall time.

        Raises
        ------
        DeviceTimeoutError
            It does not rise in time, or the device is idle and will not raise it. The message has
            the registers and the last log lines; the device can still be used.
        DeviceError
            The simulator died.
        """
        answer = self._exchange("wait_irq", bound=timeout + GRACE_SECONDS, timeout=float(timeout))
        if "timeout" in answer:
            registers = dump_registers(self.read32)
            raise DeviceTimeoutError(f"{answer['timeout']}; {registers}{self._tail()}")

    def reset(self) -> None:
        """Reset the device; its memory keeps its contents.

        Raises
        ------
        DeviceError
            The simulator died.
        """
        self._exchange("reset")

    def kill(self) -> None:
        """End the simulator at once, from any thread; who waits for it gets a DeviceError."""
        self._killed = True
        self._process.kill()

    def close(self) -> None:
        """End the simulator and wait for its end; does nothing the second time."""
        if not self._cleanup.alive:
            return
        if self._failure is None and self._process.poll() is None:
            # In order, so that coverage and waveforms are written.
            seconds = CLOSE_SECONDS if self.config.coverage is None else COVERAGE_SECONDS
            with contextlib.suppress(DeviceError, subprocess.TimeoutExpired):
                self._exchange("close")
                self._process.wait(seconds)
        self._failure = "it was closed"
        self._cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- What only a simulated device can do.

    @property
    def alive(self) -> bool:
        """Whether the device can still be used: its simulator runs and has always answered."""
        return self._failure is None and not self._killed and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the simulator."""
        return self._process.pid

    def open_trace(self, path: Path) -> None:
        """Start to write an FST waveform to `path`.

        Raises
        ------
        DeviceError
            The device was configured without `trace`, the file cannot be written, or a waveform is
            being written already.
        """
        if not self.config.trace:
            raise DeviceError("this simulator cannot write waveforms; configure it with trace=True")
        self._exchange("trace_open", path=str(path.resolve()))

    def close_trace(self) -> None:
        """Finish the waveform, if one is being written."""
        self._exchange("trace_close")

    def script(self, steps: Sequence[Step]) -> list[int]:
        """Do several accesses in a row at exact times; return the values read, in order.

        Unlike separate calls, between which a running list goes on for as long as the host takes,
        the fabric clocks from one step to the next are always the same. For tests of resets and
        doorbells at chosen moments.

        Parameters
        ----------
        steps
            ("read", offset), ("write", offset, value), ("delay", fabric clocks) or ("reset",).
        """
        for name, *arguments in steps:
            if _STEP_ARGUMENTS.get(name) != len(arguments):
                raise ValueError(f"{(name, *arguments)} is no step of a script")
            if name == "delay" and not 1 <= arguments[0] <= MOST_DELAY:
                raise ValueError(f"a delay is 1 to {MOST_DELAY} fabric clocks, not {arguments[0]}")
        answer = self._exchange("script", steps=[list(step) for step in steps])
        return [int(value) for value in answer["values"]]

    def inject_memory_error(self, address: int | None) -> None:
        """Make the 64-byte line at bus address `address` answer with an error; None: no line."""
        self._exchange("memory_error", address=2**64 - 1 if address is None else int(address))

    def stats(self) -> SimStats:
        """Return how much was simulated, and how fast."""
        answer = self._exchange("stats")
        return SimStats(answer["cycles"], answer["fast_cycles"], answer["fast_ns"] * 1e-9)

    # ---- Talking to the simulator.

    def _exchange(
        self, operation: str, bound: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Send one request and return its answer; the operations are `pimloop.sim.device.server`'s.

        `bound` is the longest wait for the answer, seconds; None: `answer_timeout`.
        """
        with self._exchange_lock:
            if self._failure is not None:
                raise DeviceError(f"the simulated device cannot be used: {self._failure}")
            try:
                send(self._socket, {"op": operation, **arguments})
                wait = self.config.answer_timeout if bound is None else bound
                answer = self._receive(wait, operation)
            except PeerGoneError:
                raise self._dead(operation) from None
            except DeviceError:
                raise
            except OSError as error:
                self._failure = f"its socket failed in {operation} ({error.strerror or error})"
                self._process.kill()
                raise DeviceError(
                    f"the simulated device cannot be used: {self._failure}{self._tail()}"
                ) from error
            except BaseException:
                # Ctrl-C between request and answer: the next answer would be the wrong one.
                self._failure = f"it was interrupted in {operation}"
                self._process.kill()
                raise
        if "error" in answer:
            raise DeviceError(answer["error"])
        return answer

    def _receive(self, timeout: float, operation: str) -> dict[str, Any]:
        self._socket.settimeout(timeout)
        try:
            return receive(self._socket)
        except TimeoutError:
            self._failure = f"no answer to {operation} within {timeout:g} s"
            self._process.kill()
            raise DeviceTimeoutError(
                f"the simulator hangs: {self._failure}{self._tail()}"
            ) from None
        except PeerGoneError:
            raise self._dead(operation) from None

    def _dead(self, operation: str) -> DeviceError:
        """Return the error for a simulator whose socket is closed."""
        try:
            status = self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        self._failure = f"the simulator died ({how}) in {operation}"
        return DeviceError(f"{self._failure}{self._tail()}")

    def _tail(self) -> str:
        """Return the last lines of the log, ready to end a message."""
        size = os.fstat(self._log_fd).st_size
        data = os.pread(self._log_fd, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        lines = data.decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return "".join(f"\n  | {line}" for line in lines) or "\n  | (its log is empty)"


def _anonymous_file(name: str, size: int) -> int:
    """Return the descriptor of a file in memory that has no path."""
    descriptor = os.memfd_create(name)
    try:
        os.ftruncate(descriptor, size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _map_whole(descriptor: int) -> NDArray[np.uint8]:
    """Return all bytes of a file in memory, shared with whoever else maps it."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        return np.zeros(0, np.uint8)
    return np.frombuffer(mmap.mmap(descriptor, size), np.uint8)


def _map_over(memory: NDArray[np.uint8], shared: SharedMemory) -> None:
    """Let the first bytes of a mapped file be `shared`, as the simulator does with its own."""
    if shared.nbytes > memory.size:
        raise DeviceError(
            f"{shared.nbytes} bytes of shared device memory, the device has {memory.size}"
        )
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
        ctypes.c_long,
    )
    mapped = libc.mmap(
        memory.ctypes.data,
        shared.nbytes,
        mmap.PROT_READ | mmap.PROT_WRITE,
        mmap.MAP_SHARED | _MAP_FIXED,
        shared.descriptor,
        0,
    )
    if mapped != memory.ctypes.data:
        reason = os.strerror(ctypes.get_errno())
        raise DeviceError(f"cannot map {shared.nbytes} bytes of shared device memory: {reason}")


def _end(process: subprocess.Popen[bytes], connection: socket.socket, log_fd: int) -> None:
    """Make sure that the simulator has ended, and release what belongs to it."""
    process.kill()
    process.wait()
    connection.close()
    os.close(log_fd)
