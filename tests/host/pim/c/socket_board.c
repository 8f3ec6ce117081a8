/* In the place of pim_uio.c: registers and interrupt over a socket, memory by a descriptor.
 * The other end is tests/host/pim/c/socket_server.py; it says in the environment which they are.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "pim_uio.h"

enum operation { READ, WRITE, WAIT };

static uint64_t variable(const char *name) { return strtoull(getenv(name), NULL, 0); }

int pim_uio_open(struct pim_uio *board, const char *root, const char *uio, const char *buffer,
                 char *message, size_t message_bytes) {
  (void)root, (void)uio, (void)buffer;
  snprintf(board->name, sizeof board->name, "socket");
  board->uio = (int)variable("PIMLOOP_TEST_SOCKET");
  board->address = variable("PIMLOOP_TEST_ADDRESS");
  board->bytes = variable("PIMLOOP_TEST_BYTES");
  board->buffer = mmap(NULL, (size_t)board->bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                       (int)variable("PIMLOOP_TEST_MEMORY"), 0);
  if (board->buffer != MAP_FAILED) return PIM_OK;
  snprintf(message, message_bytes, "cannot map the memory");
  return PIM_ERROR_IO;
}

static uint32_t ask(struct pim_uio *board, enum operation operation, uint32_t a, uint32_t b) {
  uint32_t request[3] = {operation, a, b}, answer = 0;
  if (send(board->uio, request, sizeof request, 0) != sizeof request ||
      recv(board->uio, &answer, sizeof answer, 0) != sizeof answer) {
    abort();
  }
  return answer;
}

static uint32_t read_register(void *context, uint32_t offset) {
  return ask(context, READ, offset, 0);
}

static void write_register(void *context, uint32_t offset, uint32_t value) {
  ask(context, WRITE, offset, value);
}

static int wait_interrupt(void *context, uint32_t milliseconds) {
  return ask(context, WAIT, milliseconds, 0) ? PIM_ERROR_TIMEOUT : PIM_OK;
}

static uint64_t milliseconds_now(void *context) {
  (void)context;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct pim_io pim_uio_io(struct pim_uio *board) {
  struct pim_io io = {board, read_register, write_register, wait_interrupt, milliseconds_now};
  return io;
}

void pim_uio_close(struct pim_uio *board) {
  struct pim_io io = pim_uio_io(board);
  pim_stop(&io);
  munmap(board->buffer, (size_t)board->bytes);
}
