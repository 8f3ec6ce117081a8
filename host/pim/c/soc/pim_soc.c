/* See pim_soc.h. */
#include "pim_soc.h"

#include "board.h"

#define CLOCKS_PER_MS (SOC_CLOCK_HZ / 1000u)

static uint32_t read_register(void *context, uint32_t offset) {
  (void)context;
  return board_read(SOC_PIM + offset);
}

static void write_register(void *context, uint32_t offset, uint32_t value) {
  (void)context;
  board_write(SOC_PIM + offset, value);
}

static int wait_interrupt(void *context, uint32_t milliseconds) {
  (void)context;
  int raised = board_wait(SOC_PIM_INTERRUPT, (uint64_t)milliseconds * CLOCKS_PER_MS);
  board_drop_cache();
  return raised ? PIM_OK : PIM_ERROR_TIMEOUT;
}

static uint64_t milliseconds_now(void *context) {
  (void)context;
  return board_clocks() / CLOCKS_PER_MS;
}

struct pim_io pim_soc_io(void) {
  struct pim_io io = {NULL, read_register, write_register, wait_interrupt, milliseconds_now};
  return io;
}
