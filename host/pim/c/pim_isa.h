/* The programming interface of the device: registers, descriptors, codes.
 * Generated from isa.toml by `python -m pimloop.rtl.tools.generate`: do not edit.
 */
#ifndef PIM_ISA_H
#define PIM_ISA_H

#include <stdint.h>

#define PIM_DEVICE_ID UINT32_C(0x50494D31)
#define PIM_DEVICE_VERSION UINT32_C(0x00010006)
#define PIM_DESCRIPTOR_BYTES 64

/* Register offsets in bytes. */
#define PIM_REG_ID 0x000
#define PIM_REG_VERSION 0x004
#define PIM_REG_CTRL 0x008
#define PIM_REG_STATUS 0x00C
#define PIM_REG_IRQ 0x010
#define PIM_REG_DOORBELL 0x014
#define PIM_REG_LIST_LO 0x018
#define PIM_REG_LIST_HI 0x01C
#define PIM_REG_HOST_BASE_LO 0x020
#define PIM_REG_HOST_BASE_HI 0x024
#define PIM_REG_HOST_SIZE_LO 0x028
#define PIM_REG_HOST_SIZE_HI 0x02C
#define PIM_REG_CHAIN_LIMIT 0x030
#define PIM_REG_DESC_LO 0x034
#define PIM_REG_DESC_HI 0x038
#define PIM_REG_DESC_COUNT 0x03C
#define PIM_REG_DOORBELL_DROPPED 0x040
#define PIM_REG_CAPACITY_LO 0x080
#define PIM_REG_CAPACITY_HI 0x084
#define PIM_REG_STYLE 0x088
#define PIM_REG_BANKS 0x08C
#define PIM_REG_ROW_BYTES 0x090
#define PIM_REG_ATOM_BYTES 0x094
#define PIM_REG_BEAT_BYTES 0x098
#define PIM_REG_LANES 0x09C
#define PIM_REG_ACC_GROUPS 0x0A0
#define PIM_REG_SCALAR_DEPTH 0x0A4
#define PIM_REG_CK_RATIO 0x0A8
#define PIM_REG_TCK_FS 0x0AC
#define PIM_REG_LANE_LATENCY 0x0B0
#define PIM_REG_ROWS_PER_BEAT 0x0B4
#define PIM_REG_TRANSPOSE_WAYS 0x0B8
#define PIM_REG_CNT_CYCLES_LO 0x100
#define PIM_REG_CNT_CYCLES_HI 0x104
#define PIM_REG_CNT_ACT_LO 0x108
#define PIM_REG_CNT_ACT_HI 0x10C
#define PIM_REG_CNT_PRE_LO 0x110
#define PIM_REG_CNT_PRE_HI 0x114
#define PIM_REG_CNT_RD_LO 0x118
#define PIM_REG_CNT_RD_HI 0x11C
#define PIM_REG_CNT_WR_LO 0x120
#define PIM_REG_CNT_WR_HI 0x124
#define PIM_REG_CNT_REF_LO 0x128
#define PIM_REG_CNT_REF_HI 0x12C
#define PIM_REG_CNT_MAC_LO 0x130
#define PIM_REG_CNT_MAC_HI 0x134
#define PIM_REG_CNT_STALL_LO 0x138
#define PIM_REG_CNT_STALL_HI 0x13C
#define PIM_REG_CNT_OPEN_LO 0x140
#define PIM_REG_CNT_OPEN_HI 0x144
#define PIM_REG_CNT_SELF_REFRESH_LO 0x148
#define PIM_REG_CNT_SELF_REFRESH_HI 0x14C
#define PIM_REG_CNT_ALL_RD_LO 0x150
#define PIM_REG_CNT_ALL_RD_HI 0x154
#define PIM_REG_CNT_ALL_WR_LO 0x158
#define PIM_REG_CNT_ALL_WR_HI 0x15C
#define PIM_REG_CNT_LINK_LO 0x160
#define PIM_REG_CNT_LINK_HI 0x164

/* Fields of registers and words, in place: PIM_NAME_FIELD_MASK, and where they begin. */
#define PIM_VERSION_MINOR_SHIFT 0
#define PIM_VERSION_MINOR_MASK UINT32_C(0x0000FFFF)
#define PIM_VERSION_MAJOR_SHIFT 16
#define PIM_VERSION_MAJOR_MASK UINT32_C(0xFFFF0000)
#define PIM_CTRL_SOFT_RESET_SHIFT 0
#define PIM_CTRL_SOFT_RESET_MASK UINT32_C(0x00000001)
#define PIM_CTRL_IRQ_ENABLE_SHIFT 1
#define PIM_CTRL_IRQ_ENABLE_MASK UINT32_C(0x00000002)
#define PIM_STATUS_RUNNING_SHIFT 0
#define PIM_STATUS_RUNNING_MASK UINT32_C(0x00000001)
#define PIM_STATUS_FAILED_SHIFT 1
#define PIM_STATUS_FAILED_MASK UINT32_C(0x00000002)
#define PIM_STATUS_CODE_SHIFT 8
#define PIM_STATUS_CODE_MASK UINT32_C(0x0000FF00)
#define PIM_IRQ_ENDED_SHIFT 0
#define PIM_IRQ_ENDED_MASK UINT32_C(0x00000001)
#define PIM_STYLE_ALL_BANK_SHIFT 0
#define PIM_STYLE_ALL_BANK_MASK UINT32_C(0x000000FF)
#define PIM_STYLE_NATIVE_LANES_SHIFT 8
#define PIM_STYLE_NATIVE_LANES_MASK UINT32_C(0x00000100)
#define PIM_BANKS_COUNT_SHIFT 0
#define PIM_BANKS_COUNT_MASK UINT32_C(0x0000FFFF)
#define PIM_BANKS_GROUPS_SHIFT 16
#define PIM_BANKS_GROUPS_MASK UINT32_C(0xFFFF0000)
#define PIM_DESCRIPTOR_STATUS_CODE_SHIFT 0
#define PIM_DESCRIPTOR_STATUS_CODE_MASK UINT32_C(0x000000FF)
#define PIM_DESCRIPTOR_STATUS_POSITION_SHIFT 8
#define PIM_DESCRIPTOR_STATUS_POSITION_MASK UINT32_C(0xFFFFFF00)
#define PIM_CONTROL_OPCODE_SHIFT 0
#define PIM_CONTROL_OPCODE_MASK UINT32_C(0x000000FF)
#define PIM_CONTROL_BROADCAST_SHIFT 8
#define PIM_CONTROL_BROADCAST_MASK UINT32_C(0x00000300)
#define PIM_CONTROL_INIT_SHIFT 10
#define PIM_CONTROL_INIT_MASK UINT32_C(0x00000C00)
#define PIM_CONTROL_OUT_F32_SHIFT 12
#define PIM_CONTROL_OUT_F32_MASK UINT32_C(0x00001000)
#define PIM_CONTROL_RECORD_SHIFT 13
#define PIM_CONTROL_RECORD_MASK UINT32_C(0x00002000)
#define PIM_CONTROL_WEIGHTS_SHIFT 14
#define PIM_CONTROL_WEIGHTS_MASK UINT32_C(0x0000C000)
#define PIM_CONTROL_GROUP_SHIFT 16
#define PIM_CONTROL_GROUP_MASK UINT32_C(0x000F0000)

enum pim_opcode {
  PIM_OPCODE_COPY_IN = 0x01, /* Host memory to device memory: `rows` rows of `inner` bytes. */
  PIM_OPCODE_COPY_OUT = 0x02, /* Device memory to host memory. */
  PIM_OPCODE_MATMUL = 0x03, /* Y = A x B (+ init); B in column tiles of `tile` beats, each tile row-major and contiguous (q x tile width), the last tile narrower where `cols` ends. */
  PIM_OPCODE_MATMUL_T = 0x04, /* Y = A x B^T (+ init); B has one row an output column, cut along q in blocks of ATOM_BYTES: row j of block b at addr_b + j * stride_b + b * tile. */
  PIM_OPCODE_ADD = 0x05, /* Y = A + B. */
  PIM_OPCODE_SUB = 0x06, /* Y = A - B. */
  PIM_OPCODE_MUL = 0x07, /* Y = A * B. */
  PIM_OPCODE_FENCE = 0x08, /* Wait until every earlier write has reached its memory. */
  PIM_OPCODE_END = 0x09, /* End of the list: raise the interrupt. */
  PIM_OPCODE_RELU = 0x0A, /* Y = max(A, 0): +0 where A is negative, NaN where it is NaN; -0 stays. */
};

enum pim_broadcast {
  PIM_BROADCAST_NONE = 0x00, /* (p,r) with (p,r). */
  PIM_BROADCAST_ROW = 0x01, /* (p,r) with (r): one row for all rows; stride_b is not used. */
  PIM_BROADCAST_COLUMN = 0x02, /* (p,r) with (p): one element a row, contiguous. */
  PIM_BROADCAST_SCALAR = 0x03, /* (p,r) with (1). */
};

enum pim_init {
  PIM_INIT_ZERO = 0x00, /* +0. */
  PIM_INIT_ROW = 0x01, /* A row of `cols` bfloat16 (bias), the same for every row of the result. */
  PIM_INIT_F32 = 0x02, /* A matrix of binary32 with its own row stride: continues an earlier sum, so that any q can be split without changing a bit. */
};

enum pim_weights {
  PIM_WEIGHTS_BF16 = 0x00, /* bfloat16. */
  PIM_WEIGHTS_W8 = 0x01, /* Integers of 8 bits with scales, see Integer weights. */
  PIM_WEIGHTS_W4 = 0x02, /* Integers of 4 bits with scales. */
};

enum pim_code {
  PIM_CODE_PENDING = 0x00, /* Not executed yet. */
  PIM_CODE_DONE = 0x01, /* Executed. */
  PIM_CODE_OPCODE = 0x81, /* Unknown opcode. */
  PIM_CODE_RESERVED = 0x82, /* Option not defined for this opcode or device, or an unused control bit set. */
  PIM_CODE_SIZE = 0x83, /* A size is 0, not a multiple of its granule, or larger than the device allows. */
  PIM_CODE_MISALIGNED = 0x84, /* An address or stride is not a multiple of its granule. */
  PIM_CODE_RANGE = 0x85, /* A device address range leaves device memory. */
  PIM_CODE_HOST_RANGE = 0x86, /* A host address range leaves HOST_BASE..HOST_BASE + HOST_SIZE. */
  PIM_CODE_OVERLAP = 0x87, /* The result overlaps an operand it may not overlap. */
  PIM_CODE_LOOP = 0x88, /* The status word is not PENDING: the chain loops, or it was not re-armed. */
  PIM_CODE_CHAIN = 0x89, /* More than CHAIN_LIMIT descriptors in a list. */
  PIM_CODE_AXI_READ = 0x8A, /* The host memory answered a read with an error. */
  PIM_CODE_AXI_WRITE = 0x8B, /* The host memory answered a write with an error. */
};

/* X(name, text) for every code. */
#define PIM_CODES(X) \
  X(PENDING, "Not executed yet.") \
  X(DONE, "Executed.") \
  X(OPCODE, "Unknown opcode.") \
  X(RESERVED, "Option not defined for this opcode or device, or an unused control bit set.") \
  X(SIZE, "A size is 0, not a multiple of its granule, or larger than the device allows.") \
  X(MISALIGNED, "An address or stride is not a multiple of its granule.") \
  X(RANGE, "A device address range leaves device memory.") \
  X(HOST_RANGE, "A host address range leaves HOST_BASE..HOST_BASE + HOST_SIZE.") \
  X(OVERLAP, "The result overlaps an operand it may not overlap.") \
  X(LOOP, "The status word is not PENDING: the chain loops, or it was not re-armed.") \
  X(CHAIN, "More than CHAIN_LIMIT descriptors in a list.") \
  X(AXI_READ, "The host memory answered a read with an error.") \
  X(AXI_WRITE, "The host memory answered a write with an error.")

/* A descriptor, little-endian; 64-byte aligned in host memory. */
struct pim_descriptor {
  uint32_t control;
  uint32_t next_lo;
  uint32_t next_hi;
  uint32_t host_lo;
  uint32_t host_hi;
  uint32_t addr_a;
  uint32_t addr_b;
  uint32_t addr_y;
  uint32_t rows;
  uint32_t inner;
  uint32_t cols;
  uint32_t stride_a;
  uint32_t stride_b;
  uint32_t stride_y;
  uint32_t tile;
  uint32_t status;
};

/* A completion record, little-endian. */
struct pim_record {
  uint32_t status;
  uint32_t cycles_lo;
  uint32_t cycles_hi;
  uint32_t act;
  uint32_t pre;
  uint32_t rd;
  uint32_t wr;
  uint32_t ref_count;
  uint32_t mac;
  uint32_t stall;
  uint32_t open;
  uint32_t self_refresh;
  uint32_t all_rd;
  uint32_t all_wr;
  uint32_t link;
  uint32_t unused[1];
};

#endif
