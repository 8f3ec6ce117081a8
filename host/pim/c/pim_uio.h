/* A board under Linux: registers and interrupt by UIO, memory by u-dma-buf (docs/board-bring-up.md).
 */
#ifndef PIM_UIO_H
#define PIM_UIO_H

#include "pim.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pim_uio {
  int uio;
  volatile uint32_t *registers;
  void *window; /* of the mapping, and its bytes */
  size_t window_bytes;
  char name[32]; /* of the device file, as uio0, for messages */
  void *buffer;  /* for pim_open */
  uint64_t address;
  uint64_t bytes;
};

/* Opens a board below a root folder ("" or NULL for a board, another one in tests) by the names of
 * its UIO device and of its buffer; NULL: $PIMLOOP_BOARD_UIO and $PIMLOOP_BOARD_BUFFER, else "pim"
 * and "udmabuf0". On PIM_ERROR_IO `message` says what is wrong, where and what to do. */
int pim_uio_open(struct pim_uio *board, const char *root, const char *uio, const char *buffer,
                 char *message, size_t message_bytes);

/* Returns the functions of an open board for pim_open. */
struct pim_io pim_uio_io(struct pim_uio *board);

/* Stops a list that still runs, as after a time-out, and leaves the board to others. */
void pim_uio_close(struct pim_uio *board);

#ifdef __cplusplus
}
#endif

#endif
