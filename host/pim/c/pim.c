/* See pim.h. */
#include "pim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct pim_descriptor) == PIM_DESCRIPTOR_BYTES, "a descriptor is 64 bytes");
_Static_assert(sizeof(struct pim_record) == PIM_DESCRIPTOR_BYTES, "a record is 64 bytes");

/* Stores to the buffer reach memory before a later store to a register does, and loads of what the
 * device wrote are not done early. On ARM the device is outside of the inner shareable domain. */
static void barrier(void) {
#if defined(__aarch64__)
  __asm__ volatile("dmb osh" ::: "memory");
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static uint32_t read32(struct pim *pim, uint32_t offset) {
  return pim->io.read(pim->io.context, offset);
}

static void write32(struct pim *pim, uint32_t offset, uint32_t value) {
  pim->io.write(pim->io.context, offset, value);
}

static void write64(struct pim *pim, uint32_t low, uint64_t value) {
  write32(pim, low, (uint32_t)value);
  write32(pim, low + 4, (uint32_t)(value >> 32));
}

static uint64_t read64(struct pim *pim, uint32_t low) {
  uint64_t value = read32(pim, low);
  return value | (uint64_t)read32(pim, low + 4) << 32;
}

static struct pim_descriptor *slot(struct pim *pim, uint32_t index) {
  return (struct pim_descriptor *)(void *)(pim->buffer + (size_t)index * PIM_DESCRIPTOR_BYTES);
}

void pim_reset(struct pim *pim) {
  write32(pim, PIM_REG_CTRL, PIM_CTRL_SOFT_RESET_MASK);
  write64(pim, PIM_REG_HOST_BASE_LO, pim->address);
  write64(pim, PIM_REG_HOST_SIZE_LO, pim->bytes);
  write64(pim, PIM_REG_LIST_LO, pim->address);
  write32(pim, PIM_REG_CTRL, PIM_CTRL_IRQ_ENABLE_MASK);
  pim->count = 0;
  pim->running = 0;
  pim->lost = 0;
}

void pim_stop(const struct pim_io *io) {
  if (io->read(io->context, PIM_REG_ID) != PIM_DEVICE_ID ||
      !(io->read(io->context, PIM_REG_STATUS) & PIM_STATUS_RUNNING_MASK)) {
    return;
  }
  io->write(io->context, PIM_REG_CTRL, PIM_CTRL_SOFT_RESET_MASK);
  io->read(io->context, PIM_REG_STATUS); /* answered after the write has arrived */
}

int pim_open(struct pim *pim, const struct pim_io *io, void *buffer, uint64_t address,
             uint64_t bytes, uint32_t slots) {
  memset(pim, 0, sizeof *pim);
  pim->io = *io;
  pim->buffer = buffer;
  pim->address = address;
  pim->bytes = bytes / PIM_DESCRIPTOR_BYTES * PIM_DESCRIPTOR_BYTES;
  pim->slots = slots;
  if (read32(pim, PIM_REG_ID) != PIM_DEVICE_ID) return PIM_ERROR_DEVICE;
  if ((read32(pim, PIM_REG_VERSION) ^ PIM_DEVICE_VERSION) & PIM_VERSION_MAJOR_MASK) {
    return PIM_ERROR_VERSION;
  }
  if (address % PIM_DESCRIPTOR_BYTES || (uintptr_t)buffer % PIM_DESCRIPTOR_BYTES || slots < 2 ||
      bytes / PIM_DESCRIPTOR_BYTES < slots) {
    return PIM_ERROR_BUFFER;
  }
  pim->capacity = read64(pim, PIM_REG_CAPACITY_LO);
  pim->all_bank = (read32(pim, PIM_REG_STYLE) & PIM_STYLE_ALL_BANK_MASK) != 0;
  pim->banks = read32(pim, PIM_REG_BANKS) & PIM_BANKS_COUNT_MASK;
  pim->row_bytes = read32(pim, PIM_REG_ROW_BYTES);
  pim->atom_bytes = read32(pim, PIM_REG_ATOM_BYTES);
  pim->beat_bytes = read32(pim, PIM_REG_BEAT_BYTES);
  pim->lanes = read32(pim, PIM_REG_LANES);
  pim->acc_groups = read32(pim, PIM_REG_ACC_GROUPS);
  pim->scalar_depth = read32(pim, PIM_REG_SCALAR_DEPTH);
  pim->rows_per_beat = read32(pim, PIM_REG_ROWS_PER_BEAT);
  pim_reset(pim);
  return PIM_OK;
}

/* Writes a descriptor to the next place, linked to the one after it. */
static void put(struct pim *pim, const struct pim_descriptor *descriptor) {
  uint64_t next = pim_address(pim, (uint64_t)(pim->count + 1) * PIM_DESCRIPTOR_BYTES);
  struct pim_descriptor *place = slot(pim, pim->count++);
  *place = *descriptor;
  place->next_lo = (uint32_t)next;
  place->next_hi = (uint32_t)(next >> 32);
  place->status = PIM_CODE_PENDING;
}

int pim_add(struct pim *pim, const struct pim_descriptor *descriptor) {
  if (pim->running) return PIM_ERROR_BUSY;
  if (pim->lost) pim_reset(pim); /* it may still read the list */
  if (pim->count + 1 >= pim->slots) return PIM_ERROR_FULL; /* the last place is END's */
  put(pim, descriptor);
  return PIM_OK;
}

int pim_submit(struct pim *pim) {
  if (pim->running) return PIM_ERROR_BUSY;
  if (pim->lost) pim_reset(pim);
  struct pim_descriptor end = {.control = PIM_OPCODE_END << PIM_CONTROL_OPCODE_SHIFT};
  put(pim, &end);
  barrier();
  pim->running = 1;
  write32(pim, PIM_REG_DOORBELL, 1);
  return PIM_OK;
}

/* Waits until the device says that a list has ended: an earlier interrupt does not count. */
static int await(struct pim *pim, uint32_t milliseconds) {
  const struct pim_io *io = &pim->io;
  uint64_t end = io->now(io->context) + milliseconds;
  do {
    uint64_t now = io->now(io->context);
    int result = io->wait(io->context, now < end ? (uint32_t)(end - now) : 0);
    if (result != PIM_OK) return result;
    if (read32(pim, PIM_REG_IRQ) & PIM_IRQ_ENDED_MASK) return PIM_OK;
  } while (io->now(io->context) < end);
  return PIM_ERROR_TIMEOUT;
}

static uint32_t status_code(struct pim *pim, uint32_t index) {
  return slot(pim, index)->status & PIM_DESCRIPTOR_STATUS_CODE_MASK;
}

/* Returns what the status words and STATUS say of a list of `count` descriptors. */
static int verdict(struct pim *pim, uint32_t count) {
  uint32_t status = read32(pim, PIM_REG_STATUS), i = 0;
  while (i < count && status_code(pim, i) == PIM_CODE_DONE) i++;
  pim->code = i < count ? status_code(pim, i) : PIM_CODE_DONE;
  pim->failed = i;
  if (status & PIM_STATUS_FAILED_MASK &&
      (pim->code == PIM_CODE_PENDING || pim->code == PIM_CODE_DONE)) {
    /* The word of the descriptor that failed was not written, or is not seen here. */
    uint32_t begun = read32(pim, PIM_REG_DESC_COUNT);
    pim->code = (status & PIM_STATUS_CODE_MASK) >> PIM_STATUS_CODE_SHIFT;
    pim->failed = begun == 0 ? 0 : (begun < count ? begun : count) - 1;
    return PIM_ERROR_REFUSED;
  }
  return i < count ? PIM_ERROR_REFUSED : PIM_OK;
}

int pim_wait(struct pim *pim, uint32_t milliseconds) {
  if (!pim->running) return PIM_OK;
  uint32_t count = pim->count;
  pim->waited = milliseconds;
  int result = await(pim, milliseconds);
  pim->count = 0;
  pim->running = 0;
  if (result != PIM_OK) {
    pim->lost = 1;
    return result;
  }
  write32(pim, PIM_REG_IRQ, PIM_IRQ_ENDED_MASK);
  barrier();
  return verdict(pim, count);
}

int pim_run(struct pim *pim, uint32_t milliseconds) {
  int result = pim_submit(pim);
  return result == PIM_OK ? pim_wait(pim, milliseconds) : result;
}

uint64_t pim_counter(struct pim *pim, uint32_t low) { return read64(pim, low); }

uint64_t pim_data_offset(const struct pim *pim) {
  return (uint64_t)pim->slots * PIM_DESCRIPTOR_BYTES;
}

uint64_t pim_address(const struct pim *pim, uint64_t offset) { return pim->address + offset; }

const char *pim_error_text(int error) {
  switch (error) {
    case PIM_OK: return "no error";
    case PIM_ERROR_TIMEOUT: return "no interrupt in time; the next list resets the device first";
    case PIM_ERROR_IO: return "registers or interrupt cannot be reached";
    case PIM_ERROR_DEVICE: return "the ID register is not that of a PIM device";
    case PIM_ERROR_VERSION: return "the device has another version of the interface";
    case PIM_ERROR_BUFFER: return "the buffer is too small or not aligned to 64 bytes";
    case PIM_ERROR_FULL: return "the list has no place for another descriptor";
    case PIM_ERROR_BUSY: return "a list is running: wait for it first";
    case PIM_ERROR_REFUSED: return "the device ended the list with an error";
    default: return "unknown error";
  }
}

const char *pim_code_text(uint32_t code) {
  switch (code) {
#define TEXT(name, text) \
  case PIM_CODE_##name: return #name ": " text;
    PIM_CODES(TEXT)
#undef TEXT
    default: return "unknown code";
  }
}

/* Writes which demand the buffer breaks. */
static void explain_buffer(const struct pim *pim, char *text, size_t bytes) {
  if (pim->slots < 2) {
    snprintf(text, bytes, "a list of %" PRIu32 " descriptors has no place for one and END: open "
             "the device with 2 or more", pim->slots);
  } else if (pim->bytes / PIM_DESCRIPTOR_BYTES < pim->slots) {
    snprintf(text, bytes, "the buffer has %" PRIu64 " bytes, a list of %" PRIu32 " descriptors "
             "takes %u each: make the buffer larger, or the list shorter",
             pim->bytes, pim->slots, PIM_DESCRIPTOR_BYTES);
  } else {
    snprintf(text, bytes, "the buffer begins at 0x%" PRIX64 " for the device and at %p for the "
             "program, which must be multiples of %u: give it whole pages",
             pim->address, (void *)pim->buffer, PIM_DESCRIPTOR_BYTES);
  }
}

static void explain_timeout(struct pim *pim, char *text, size_t bytes) {
  uint32_t status = read32(pim, PIM_REG_STATUS);
  const char *next =
      status & PIM_STATUS_RUNNING_MASK
          ? "the device still runs the list; wait longer (the next list resets it first)"
          : "the list has ended; check that the interrupt is connected as the device tree says";
  snprintf(text, bytes, "no interrupt within %" PRIu32 " ms, register STATUS is 0x%08" PRIX32
           ": %s", pim->waited, status, next);
}

static void explain_refusal(struct pim *pim, char *text, size_t bytes) {
  static const char cached[] = "what the device writes is not seen in the buffer: is it cached? Set "
                               "sync-mode of u-dma-buf to 2 or 3, or connect a coherent port.";
  uint32_t opcode = slot(pim, pim->failed)->control & PIM_CONTROL_OPCODE_MASK;
  uint32_t seen = status_code(pim, pim->failed);
  char place[80];
  snprintf(place, sizeof place, "descriptor %" PRIu32 " of the list, opcode 0x%02" PRIX32,
           pim->failed, opcode);
  if (pim->code == PIM_CODE_PENDING) {
    snprintf(text, bytes, "the list has ended without an error, but the status word of %s, is still "
             "PENDING: %s", place, cached);
  } else if (pim->code == PIM_CODE_AXI_READ || pim->code == PIM_CODE_AXI_WRITE) {
    snprintf(text, bytes, "%s, ended with %s Check the address range of the port in the block "
             "design: the buffer must be in it.", place, pim_code_text(pim->code));
  } else if (seen == pim->code) {
    snprintf(text, bytes, "%s, ended with %s Mend that descriptor; rtl/README.md has the rules of "
             "its opcode.", place, pim_code_text(pim->code));
  } else if (read32(pim, PIM_REG_DESC_COUNT) == 0) {
    snprintf(text, bytes, "the list's address, 0x%" PRIX64 ", was refused with %s Is another program "
             "using the device?", pim->address, pim_code_text(pim->code));
  } else {
    snprintf(text, bytes, "%s, ended with %s Its status word does not say so: %s", place,
             pim_code_text(pim->code), cached);
  }
}

void pim_explain(struct pim *pim, int error, char *text, size_t bytes) {
  switch (error) {
    case PIM_ERROR_TIMEOUT: explain_timeout(pim, text, bytes); break;
    case PIM_ERROR_DEVICE:
      snprintf(text, bytes, "register ID is 0x%08" PRIX32 ", a PIM device's is 0x%08" PRIX32
               ": check the address of the registers, and that the bitstream is loaded",
               read32(pim, PIM_REG_ID), PIM_DEVICE_ID);
      break;
    case PIM_ERROR_VERSION:
      snprintf(text, bytes, "register VERSION is 0x%08" PRIX32 ", this driver is for 0x%08" PRIX32
               ": build bitstream and driver from one commit",
               read32(pim, PIM_REG_VERSION), PIM_DEVICE_VERSION);
      break;
    case PIM_ERROR_BUFFER: explain_buffer(pim, text, bytes); break;
    case PIM_ERROR_FULL:
      snprintf(text, bytes, "the list has %" PRIu32 " places, the last of them END's: run it, or "
               "open the device with more", pim->slots);
      break;
    case PIM_ERROR_BUSY:
      snprintf(text, bytes, "a list of %" PRIu32 " descriptors is running: wait for it first",
               pim->count);
      break;
    case PIM_ERROR_REFUSED: explain_refusal(pim, text, bytes); break;
    case PIM_ERROR_IO:
      snprintf(text, bytes, "the interrupt cannot be waited for: is the overlay still loaded?");
      break;
    default: snprintf(text, bytes, "%s", pim_error_text(error));
  }
}

static struct pim_descriptor of_opcode(enum pim_opcode opcode) {
  struct pim_descriptor descriptor;
  memset(&descriptor, 0, sizeof descriptor);
  descriptor.control = (uint32_t)opcode << PIM_CONTROL_OPCODE_SHIFT;
  return descriptor;
}

struct pim_descriptor pim_copy_in(uint64_t host, uint32_t device, uint32_t rows,
                                  uint32_t row_bytes, uint32_t host_stride,
                                  uint32_t device_stride) {
  struct pim_descriptor d = of_opcode(PIM_OPCODE_COPY_IN);
  d.host_lo = (uint32_t)host;
  d.host_hi = (uint32_t)(host >> 32);
  d.addr_y = device;
  d.rows = rows;
  d.inner = row_bytes;
  d.stride_a = host_stride;
  d.stride_y = device_stride;
  return d;
}

struct pim_descriptor pim_copy_out(uint64_t host, uint32_t device, uint32_t rows,
                                   uint32_t row_bytes, uint32_t host_stride,
                                   uint32_t device_stride) {
  struct pim_descriptor d = of_opcode(PIM_OPCODE_COPY_OUT);
  d.host_lo = (uint32_t)host;
  d.host_hi = (uint32_t)(host >> 32);
  d.addr_a = device;
  d.rows = rows;
  d.inner = row_bytes;
  d.stride_a = device_stride;
  d.stride_y = host_stride;
  return d;
}

struct pim_descriptor pim_matmul(const struct pim_product *product) {
  struct pim_descriptor d =
      of_opcode(product->transposed ? PIM_OPCODE_MATMUL_T : PIM_OPCODE_MATMUL);
  d.control |= (uint32_t)product->init << PIM_CONTROL_INIT_SHIFT;
  d.control |= (uint32_t)(product->out_f32 != 0) << PIM_CONTROL_OUT_F32_SHIFT;
  d.control |= (uint32_t)product->weights << PIM_CONTROL_WEIGHTS_SHIFT;
  d.control |= product->group << PIM_CONTROL_GROUP_SHIFT;
  d.host_lo = product->c;
  d.host_hi = product->stride_c;
  d.addr_a = product->a;
  d.addr_b = product->b;
  d.addr_y = product->y;
  d.rows = product->rows;
  d.inner = product->inner;
  d.cols = product->cols;
  d.stride_a = product->stride_a;
  d.stride_b = product->stride_b;
  d.stride_y = product->stride_y;
  d.tile = product->tile;
  return d;
}

int pim_integers_refused(const struct pim *pim, uint32_t inner, enum pim_weights weights,
                         uint32_t group, char *text, size_t bytes) {
  uint32_t each = weights == PIM_WEIGHTS_W8 ? 2 : weights == PIM_WEIGHTS_W4 ? 4 : 1;
  uint32_t bits = 16 / each; /* lanes are 16 bits wide */
  if (each > pim->rows_per_beat || each > pim->acc_groups) {
    snprintf(text, bytes, "weights of %" PRIu32 " bits need rows_per_beat and acc_groups of at least "
             "%" PRIu32 ", the device has %" PRIu32 " and %" PRIu32,
             bits, each, pim->rows_per_beat, pim->acc_groups);
    return 1;
  }
  if (group > PIM_CONTROL_GROUP_MASK >> PIM_CONTROL_GROUP_SHIFT) {
    snprintf(text, bytes, "groups of 2 to the power of %" PRIu32 " rows: %" PRIu32 " is the most",
             group, PIM_CONTROL_GROUP_MASK >> PIM_CONTROL_GROUP_SHIFT);
    return 1;
  }
  if (inner > pim->scalar_depth && pim->scalar_depth % (UINT32_C(1) << group) != 0) {
    snprintf(text, bytes, "groups of %" PRIu32 " rows, of which the device's scalar_depth %" PRIu32
             " is no multiple", UINT32_C(1) << group, pim->scalar_depth);
    return 1;
  }
  return 0;
}

struct pim_descriptor pim_elementwise(enum pim_opcode opcode, enum pim_broadcast broadcast,
                                      uint32_t a, uint32_t b, uint32_t y, uint32_t rows,
                                      uint32_t cols, uint32_t stride_a, uint32_t stride_b,
                                      uint32_t stride_y) {
  struct pim_descriptor d = pim_unary(opcode, a, y, rows, cols, stride_a, stride_y);
  d.control |= (uint32_t)broadcast << PIM_CONTROL_BROADCAST_SHIFT;
  d.addr_b = b;
  d.stride_b = stride_b;
  return d;
}

struct pim_descriptor pim_unary(enum pim_opcode opcode, uint32_t a, uint32_t y, uint32_t rows,
                                uint32_t cols, uint32_t stride_a, uint32_t stride_y) {
  struct pim_descriptor d = of_opcode(opcode);
  d.addr_a = a;
  d.addr_y = y;
  d.rows = rows;
  d.cols = cols;
  d.stride_a = stride_a;
  d.stride_y = stride_y;
  return d;
}

struct pim_descriptor pim_fence(void) { return of_opcode(PIM_OPCODE_FENCE); }

uint16_t pim_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FC0;
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float pim_float(uint16_t bits) {
  uint32_t wide = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return value;
}
