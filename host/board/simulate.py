"""Times of the board's operators on the simulated PIM, one operator for each signature.

Operators of equal shapes take equal cycles (they never depend on the data), so each class is
simulated once, whatever the number of its nodes. Constants are padded as the board pads them, also
where another form (`pimloop.host.pim.forms`) would be cheaper.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pimloop.host.board.data import class_graph, class_name
from pimloop.host.board.templates import Template
from pimloop.host.cpu.work import signature
from pimloop.host.models.graph import Graph
from pimloop.host.operators import Operation, pim_operation
from pimloop.host.operators.forms import PLAIN, ConstantUse, ProductForm
from pimloop.host.operators.product import Product
from pimloop.host.pim.device.base import Device
from pimloop.host.pim.driver import DeviceMatrix, DeviceTensor, PimDriver
from pimloop.host.platforms.platform import Platform

#: What identifies equal work on the device.
Signature = tuple[object, ...]


class PimTimes:
    """Times on the PIM by class and length; simulates what it has not seen.

    Parameters
    ----------
    platform
        The platform; its capabilities decide what the PIM runs.
    device
        An open device of that platform, with a clock.
    timeout
        Bound of each wait for the device, seconds.
    progress
        Called with the name of each operator before it is simulated.
    """

    def __init__(
        self,
        platform: Platform,
        device: Device,
        *,
        timeout: float = 600.0,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self._platform = platform
        self._device = device
        self._timeout = timeout
        self._progress = progress or (lambda _: None)
        self._cycles: dict[Signature, int] = {}

    @property
    def simulated(self) -> int:
        """Operators simulated so far."""
        return len(self._cycles)

    def time_us(self, template: Template, length: int) -> float | None:
        """Return the time of an operator of a class, microseconds; None: not on the PIM."""
        graph = class_graph(template, length)
        node = graph.nodes[0]
        operation = pim_operation(graph, node, self._platform.capabilities)
        if operation is None:
            return None
        key = signature(graph, node)
        if key not in self._cycles:
            self._progress(class_name(template, length))
            self._cycles[key] = self._run(graph, operation)
        return self._platform.pim_time_us(self._cycles[key])

    def _run(self, graph: Graph, operation: Operation) -> int:
        """Return the DRAM clocks of one operator with random operands."""
        with PimDriver.for_platform(self._device, self._platform, timeout=self._timeout) as driver:
            operation.emit(_RandomOperands(graph, driver))
            return driver.last.cycles


class _RandomOperands:
    """Random operands, each made when it is asked for; right operands are resident matrices."""

    form: ProductForm = PLAIN
    columns: int | None = None
    out: DeviceTensor | None = None

    def __init__(self, graph: Graph, driver: PimDriver) -> None:
        self.driver = driver
        self._graph = graph
        self._rng = np.random.default_rng(0)

    def tensor(self, name: str) -> DeviceTensor:
        return self.driver.upload(self._random(name))

    def state(self, name: str) -> DeviceTensor:
        return self.tensor(name)

    def filled(self, name: str) -> int | None:
        return None

    def row(self, name: str) -> DeviceTensor:
        return self.driver.upload(self._random(name).reshape(-1))

    def right(self, product: Product) -> tuple[DeviceMatrix, bool]:
        values = self._random(product.right)
        return self.driver.load_matrix(values, transposed=product.transposed), False

    def matrix(self, use: ConstantUse) -> DeviceMatrix:
        raise NotImplementedError(f"{use.name}: the board multiplies by no integers")

    def turned(self, product: Product) -> tuple[DeviceTensor, DeviceMatrix]:
        raise NotImplementedError(f"{product}: the board computes no product turned around")

    def _random(self, name: str) -> NDArray[np.float32]:
        return self._rng.standard_normal(self._graph.tensors[name].shape, dtype=np.float32)
