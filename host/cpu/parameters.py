"""The parameters of a platform's CPU model: the optional `[cpu]` section of a platform file.

`pimloop.host.cpu.model` says what they mean together; `pimloop.host.calibration.calibrate` fits
them to measured times.
"""

from __future__ import annotations

from dataclasses import dataclass

from pimloop.host.common.schema import number

CALL = "microseconds a call"
ELEMENT = "nanoseconds an element"
MAC = "nanoseconds a multiply-add"
TIMES = "times one core"


@dataclass(frozen=True)
class CpuSection:
    """Few, physical parameters for each class of operators; nothing for a single shape."""

    cores: int = number("cores", 1)
    speedup_cores: int = number("cores", 1)  # that product_speedup is the ratio of
    l1_bytes: int = number("bytes", 1)  # data cache of one core

    # Products with one right operand for all rows (weights).
    product_call_us: float = number(CALL)
    product_weight_ns: float = number(ELEMENT)  # reading and packing the right operand
    product_mac_ns: float = number(MAC)
    product_speedup: float = number(TIMES, 1)  # `speedup_cores` against one

    # Batches of small products (attention).
    batched_call_us: float = number(CALL)
    batched_product_ns: float = number("nanoseconds a product")
    batched_weight_ns: float = number(ELEMENT)
    batched_mac_ns: float = number(MAC)
    batched_thread_macs: int = number("multiply-adds a product and thread", 1)
    batched_fork_us: float = number("microseconds a product")

    # Element-wise arithmetic with two operands or more, and with one.
    elementwise_call_us: float = number(CALL)
    unary_call_us: float = number(CALL)
    stream_ns: float = number(ELEMENT)  # each tensor read or written from end to end
    row_ns: float = number(ELEMENT)  # a row repeated, out of the cache
    span_ns: float = number("nanoseconds a piece")  # a piece of the result: one broadcast
    divide_ns: float = number(ELEMENT)
    power_ns: float = number(ELEMENT)
    elementwise_parallel_elements: int = number("elements", 1)
    elementwise_speedup: float = number(TIMES, 1)  # at most: then the memory is saturated

    # Functions: one call each, then the time of an element.
    function_call_us: float = number(CALL)
    erf_ns: float = number(ELEMENT)
    tanh_ns: float = number(ELEMENT)
    softmax_ns: float = number(ELEMENT)

    reduce_call_us: float = number(CALL)
    reduce_ns: float = number(ELEMENT)

    # Movement: blocks of neighbouring elements, or one element after the other.
    copy_call_us: float = number(CALL)
    table_call_us: float = number(CALL)  # rows of a constant table, far from any cache
    slice_call_us: float = number(CALL)
    copy_ns: float = number(ELEMENT)
    permute_ns: float = number(ELEMENT)
    permute_miss_ns: float = number(ELEMENT)  # more, where the tensor exceeds the data cache

    # Another shape of the same elements; a runtime may copy them all the same.
    reshape_call_us: float = number(CALL)
    view_call_us: float = number(CALL)
    view_ns: float = number(ELEMENT)
