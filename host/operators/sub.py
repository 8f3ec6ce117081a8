"""Sub: the difference of two operands."""

import numpy as np

from pimloop.host.operators.elementwise import Kind
from pimloop.rtl.isa import Opcode

KINDS = (Kind(Opcode.SUB, np.subtract, commutative=False),)

MATCHERS = {"Sub": KINDS[0].match}
