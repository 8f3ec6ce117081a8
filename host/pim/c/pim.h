/* Driver of the PIM device in C: descriptors, one list at a time, a wait with a time-out.
 *
 * It knows neither UIO nor a simulator, and needs no operating system: registers, interrupt and clock
 * are functions of `struct pim_io`. pim_uio.h has those of a board with Linux, soc/pim_soc.h those of
 * a processor without one. Registers and descriptors: pim_isa.h, explained in rtl/README.md.
 * Not for several threads at once. The machine must be little-endian.
 */
#ifndef PIM_H
#define PIM_H

#include <stddef.h>
#include <stdint.h>

#include "pim_isa.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What functions return: 0, or what was wrong. */
enum pim_error {
  PIM_OK = 0,
  PIM_ERROR_TIMEOUT = -1, /* no interrupt in time; the next list resets the device first */
  PIM_ERROR_IO = -2,      /* registers or interrupt cannot be reached */
  PIM_ERROR_DEVICE = -3,  /* ID is not that of a PIM device */
  PIM_ERROR_VERSION = -4, /* another major version of the interface */
  PIM_ERROR_BUFFER = -5,  /* the buffer is too small or not aligned to 64 bytes */
  PIM_ERROR_FULL = -6,    /* no place for another descriptor */
  PIM_ERROR_BUSY = -7,    /* a list is running: pim_wait first */
  PIM_ERROR_REFUSED = -8  /* the device ended the list with an error: `code`, `failed` */
};

/* How a device is reached. */
struct pim_io {
  void *context;
  /* One access of 32 bits at a byte offset. */
  uint32_t (*read)(void *context, uint32_t offset);
  void (*write)(void *context, uint32_t offset, uint32_t value);
  /* Returns PIM_OK when the interrupt comes, at once while the line is high; PIM_ERROR_TIMEOUT
   * after so many milliseconds; PIM_ERROR_IO. What the device wrote before is seen afterwards. */
  int (*wait)(void *context, uint32_t milliseconds);
  /* Milliseconds of a clock that never goes back. */
  uint64_t (*now)(void *context);
};

struct pim {
  struct pim_io io;
  uint8_t *buffer;  /* DMA-coherent memory; the list is at its start */
  uint64_t address; /* its address as the device sees it */
  uint64_t bytes;
  uint32_t slots; /* descriptors of the list, END among them */
  uint32_t count; /* of them in use */
  int running;
  int lost;        /* a list did not end: the device is reset before the next */
  uint32_t code;   /* after PIM_ERROR_REFUSED: enum pim_code */
  uint32_t failed; /* and the position of the descriptor, from 0 */
  uint32_t waited; /* milliseconds that the last wait was given */
  /* What the device says of itself. */
  uint64_t capacity; /* bytes of its memory */
  uint32_t all_bank, banks, row_bytes, atom_bytes, beat_bytes, lanes, acc_groups, scalar_depth,
      rows_per_beat;
};

/* Opens a device: checks ID and version, reads its geometry, resets it, lets it see the buffer.
 * `slots` descriptors of 64 bytes are kept for the list at the start of the buffer. */
int pim_open(struct pim *pim, const struct pim_io *io, void *buffer, uint64_t address,
             uint64_t bytes, uint32_t slots);

/* Appends a descriptor; its `next` and `status` are filled in. */
int pim_add(struct pim *pim, const struct pim_descriptor *descriptor);

/* Appends END, starts the list and returns while the device works. */
int pim_submit(struct pim *pim);

/* Waits for the list; it is empty afterwards, whatever the result. */
int pim_wait(struct pim *pim, uint32_t milliseconds);

/* pim_submit and pim_wait. */
int pim_run(struct pim *pim, uint32_t milliseconds);

/* Drops the list and resets the device; its memory is kept. */
void pim_reset(struct pim *pim);

/* Reads a counter by its lower register, as PIM_REG_CNT_CYCLES_LO. */
uint64_t pim_counter(struct pim *pim, uint32_t low);

/* Resets a PIM device whose list still runs, as after a time-out: it would go on writing to a buffer
 * that others may get. Leaves an idle device, and one of another kind, as it is. */
void pim_stop(const struct pim_io *io);

/* First byte of the buffer behind the list, and the device's address of a byte of the buffer. */
uint64_t pim_data_offset(const struct pim *pim);
uint64_t pim_address(const struct pim *pim, uint64_t offset);

/* Writes what was wrong with the call before, what the device says, and what to do next. */
void pim_explain(struct pim *pim, int error, char *text, size_t bytes);

const char *pim_error_text(int error);
const char *pim_code_text(uint32_t code);

/* Descriptors. They check nothing: the device does. Strides are bytes between rows. */

struct pim_descriptor pim_copy_in(uint64_t host, uint32_t device, uint32_t rows,
                                  uint32_t row_bytes, uint32_t host_stride,
                                  uint32_t device_stride);
struct pim_descriptor pim_copy_out(uint64_t host, uint32_t device, uint32_t rows,
                                   uint32_t row_bytes, uint32_t host_stride,
                                   uint32_t device_stride);

/* Y = A x B (+ init), or with `transposed` A x B^T. */
struct pim_product {
  uint32_t a, b, y;           /* device addresses */
  uint32_t rows, inner, cols; /* elements */
  uint32_t stride_a, stride_b, stride_y;
  uint32_t tile; /* beats in a column tile; transposed: bytes between blocks of B */
  int transposed;
  enum pim_init init;
  uint32_t c, stride_c; /* initial value */
  int out_f32;
  enum pim_weights weights; /* W8, W4: B is integers and scales (rtl/README.md, Integer weights) */
  uint32_t group;           /* of them: log2 of the rows that share a scale */
};
struct pim_descriptor pim_matmul(const struct pim_product *product);

/* Returns whether the device has no product by such weights; `text` says why. A product whose
 * `inner` is larger than scalar_depth is split into several, at whole groups. */
int pim_integers_refused(const struct pim *pim, uint32_t inner, enum pim_weights weights,
                         uint32_t group, char *text, size_t bytes);

/* Y = A op B, and Y = op A. */
struct pim_descriptor pim_elementwise(enum pim_opcode opcode, enum pim_broadcast broadcast,
                                      uint32_t a, uint32_t b, uint32_t y, uint32_t rows,
                                      uint32_t cols, uint32_t stride_a, uint32_t stride_b,
                                      uint32_t stride_y);
struct pim_descriptor pim_unary(enum pim_opcode opcode, uint32_t a, uint32_t y, uint32_t rows,
                                uint32_t cols, uint32_t stride_a, uint32_t stride_y);
struct pim_descriptor pim_fence(void);

/* Rounds a float to the nearest bfloat16, ties to even, and back; NaN becomes 0x7FC0. */
uint16_t pim_bf16(float value);
float pim_float(uint16_t bits);

#ifdef __cplusplus
}
#endif

#endif
