"""Sub: the difference of two operands."""

import numpy as np

from pimloop.host.operators.elementwise import BinaryKind
from pimloop.rtl.tables.isa import Opcode

KINDS = (BinaryKind(Opcode.SUB, np.subtract),)

MATCHERS = {"Sub": KINDS[0].match}
