"""Add: the sum of two operands."""

import numpy as np

from pimloop.host.operators.elementwise import BinaryKind
from pimloop.rtl.tables.isa import Opcode

KINDS = (BinaryKind(Opcode.ADD, np.add, commutative=True),)

MATCHERS = {"Add": KINDS[0].match}
