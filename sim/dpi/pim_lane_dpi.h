// The arithmetic lanes in C++: the body of rtl/pim_lanes_native_sim.sv (pim_lanes_*, called
// through DPI) and the same arithmetic for a golden model (pim_golden_*, plain C, for ctypes).
//
// bfloat16 numbers are uint16_t and binary32 numbers uint32_t here: their bits. Every function
// keeps the device's contract: one rounding to nearest even a step, subnormals kept, NaN results
// canonical (0x7FC00000, and 0x7FC0 in bfloat16). The calling thread's floating-point
// environment must be the default one (round to nearest, no flush to zero).

#ifndef PIM_LANE_DPI_H
#define PIM_LANE_DPI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Simulation body. A word of a vector is 32 bits as in svBitVecVal, lane 0 in the low bits.

// Accumulators of `lanes` lanes with `groups` sets, all zero; mask parts of lanes / parts lanes.
void* pim_lanes_new(uint32_t lanes, uint32_t groups, uint32_t parts);

// Gives back what pim_lanes_new made; a null pointer is accepted.
void pim_lanes_delete(void* lanes);

// One operation (pim_pkg::lane_op_e) on set `group`, on the lanes of the parts set in `mask`.
void pim_lanes_operate(void* lanes, uint32_t op, uint32_t group, uint32_t mask, uint32_t scalar,
                       const uint32_t* vector);

// Read set `group`.
void pim_lanes_read(void* lanes, uint32_t group);

// Word `index` of what was last read: as bfloat16 (lanes / 2 words), then as binary32 (lanes words).
uint32_t pim_lanes_word(void* lanes, uint32_t index);

// On the lanes of the parts set in `mask`, adds to set `group` what the set last read, or with
// `before_last` the one read before it, has in the bits 23:16 (part 0), 15:8 (1) or 7:0 (2) of its
// significands times `vector`.
void pim_lanes_scale(void* lanes, uint32_t group, uint32_t mask, uint32_t part,
                     uint32_t before_last, const uint32_t* vector);

// Golden model.

// accumulators[i] = fma(scalar, vector[i], accumulators[i]) for i < lanes.
void pim_golden_mac(uint32_t* accumulators, uint16_t scalar, const uint16_t* vector,
                    size_t lanes);

// accumulators[i] = fma(left[i], right[i], -0.0) for i < lanes: the element-wise product.
void pim_golden_mul(uint32_t* accumulators, const uint16_t* left, const uint16_t* right,
                    size_t lanes);

// For each row i of left (rows x depth, C order) and column j of right (depth x columns, C
// order): accumulators[i][j] = fma(left[i][k], right[k][j], accumulators[i][j]), k ascending.
void pim_golden_matmul(uint32_t* accumulators, const uint16_t* left, const uint16_t* right,
                       size_t rows, size_t depth, size_t columns);

// result[i] = values[i] rounded to bfloat16 for i < count.
void pim_golden_round_bf16(uint16_t* result, const uint32_t* values, size_t count);

#ifdef __cplusplus
}
#endif

#endif  // PIM_LANE_DPI_H
