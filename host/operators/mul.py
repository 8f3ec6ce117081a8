"""Mul: the product of two operands, element by element."""

import numpy as np

from pimloop.host.operators.elementwise import BinaryKind
from pimloop.rtl.tables.isa import Opcode

KINDS = (BinaryKind(Opcode.MUL, np.multiply, commutative=True),)

MATCHERS = {"Mul": KINDS[0].match}
