// Headers of Verilator and of C++ that the generated code of every design includes, and both main
// programs: `build.py` has the compiler read them once and for all benches.

#ifndef PIMLOOP_PRELUDE_H_
#define PIMLOOP_PRELUDE_H_

#include <memory>
#include <string>

#include "verilated.h"
#include "verilated_syms.h"
#include "verilated_vpi.h"

#endif
