"""Mul: the product of two operands, element by element."""

import numpy as np

from pimloop.host.operators.elementwise import Kind
from pimloop.rtl.isa import Opcode

KINDS = (Kind(Opcode.MUL, np.multiply, commutative=True),)

MATCHERS = {"Mul": KINDS[0].match}
