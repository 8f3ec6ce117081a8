/* Y = A x B in a SoC: operands are in main memory, the result goes to the console in hexadecimal.
 *
 * At SOC_INPUT lie three words p, q, r, then A (p,q) and B (q,r), bfloat16 and row-major, each from a
 * multiple of four bytes on. The first half of main memory is the buffer of the driver. Lines it
 * prints: "clocks CPU DEVICE" of the list's second run, "y" and a row of the result, "error" and what was wrong.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "board.h"
#include "pim_soc.h"

#define SOC_INPUT (SOC_MAIN_RAM + SOC_MAIN_RAM_BYTES / 2)
#define SLOTS 16u
#define ELEMENT 2u /* bytes of a bfloat16 */
#ifndef TIMEOUT_MS
#define TIMEOUT_MS 100u
#endif

static struct pim pim;

struct job {
  uint32_t p, q, r;
  const uint16_t *a, *b;
};

static struct job read_job(void) {
  const uint32_t *words = (const uint32_t *)SOC_INPUT;
  struct job job = {.p = words[0], .q = words[1], .r = words[2]};
  job.a = (const uint16_t *)(words + 3);
  job.b = job.a + (job.p * job.q + 1) / 2 * 2;
  return job;
}

static int give_up(int error, const char *step) {
  char text[512];
  pim_explain(&pim, error, text, sizeof text);
  board_print("error ");
  board_print(step);
  board_print(": ");
  board_print(text);
  board_print("\n");
  return 2;
}

static uint32_t round_up(uint32_t value, uint32_t step) { return (value + step - 1) / step * step; }

/* Copies B to column tiles of at most `tile` elements, each (q, width), with zeros behind column r. */
static void pack_tiles(uint16_t *to, const struct job *job, uint32_t columns, uint32_t tile) {
  for (uint32_t left = 0; left < columns; left += tile) {
    uint32_t width = columns - left < tile ? columns - left : tile;
    for (uint32_t k = 0; k < job->q; k++)
      for (uint32_t j = left; j < left + width; j++)
        *to++ = j < job->r ? job->b[k * job->r + j] : 0;
  }
}

static void print_rows(const uint16_t *y, const struct job *job, uint32_t columns) {
  static const char digits[] = "0123456789abcdef";
  for (uint32_t i = 0; i < job->p; i++) {
    board_print("y ");
    for (uint32_t j = 0; j < job->r; j++) {
      uint16_t bits = y[i * columns + j];
      char text[5] = {digits[bits >> 12], digits[bits >> 8 & 15], digits[bits >> 4 & 15],
                      digits[bits & 15], 0};
      board_print(text);
    }
    board_print("\n");
  }
}

int main(void) {
  struct job job = read_job();
  struct pim_io io = pim_soc_io();
  uint8_t *buffer = (uint8_t *)SOC_MAIN_RAM;
  int error = pim_open(&pim, &io, buffer, SOC_MAIN_RAM, SOC_MAIN_RAM_BYTES / 2, SLOTS);
  if (error != PIM_OK) return give_up(error, "opening the device");
  uint32_t beat = pim.beat_bytes, per_beat = beat / ELEMENT;
  uint32_t columns = round_up(job.r, per_beat), tile = columns / per_beat;
  if (tile > pim.acc_groups) tile = pim.acc_groups;
  uint32_t row_a = round_up(job.q * ELEMENT, beat), row_y = columns * ELEMENT;
  uint32_t at = (uint32_t)pim_data_offset(&pim), size_a = job.p * row_a;
  uint32_t size_b = job.q * row_y, size_y = job.p * row_y;
  if (at + size_a + size_b + size_y > pim.bytes) {
    board_print("error the shape: list and padded operands do not fit the buffer\n");
    return 2;
  }
  uint8_t *a = buffer + at, *b = a + size_a, *y = b + size_b;
  memset(a, 0, size_a + size_b + size_y);
  for (uint32_t i = 0; i < job.p; i++) memcpy(a + i * row_a, job.a + i * job.q, job.q * ELEMENT);
  pack_tiles((uint16_t *)b, &job, columns, tile * per_beat);

  struct pim_product product = {.a = 0, .b = size_a, .y = size_a + size_b,
                                .rows = job.p, .inner = job.q, .cols = columns,
                                .stride_a = row_a, .stride_y = row_y, .tile = tile};
  struct pim_descriptor list[] = {
      pim_copy_in(pim_address(&pim, at), product.a, 1, size_a + size_b, 0, 0),
      pim_matmul(&product),
      pim_copy_out(pim_address(&pim, at + size_a + size_b), product.y, 1, size_y, 0, 0),
  };
  uint64_t begin = 0, end = 0, device = 0;
  /* Twice: then the data cache holds status words that the device writes again. */
  for (int turn = 0; turn < 2; turn++) {
    memset(y, 0, size_y);
    for (size_t i = 0; error == PIM_OK && i < sizeof list / sizeof *list; i++)
      error = pim_add(&pim, &list[i]);
    if (error != PIM_OK) return give_up(error, "writing the list");
    device = pim_counter(&pim, PIM_REG_CNT_CYCLES_LO);
    begin = board_clocks();
    error = pim_run(&pim, TIMEOUT_MS);
    end = board_clocks();
    if (error != PIM_OK) return give_up(error, "running the list");
    device = pim_counter(&pim, PIM_REG_CNT_CYCLES_LO) - device;
  }
  char text[64];
  snprintf(text, sizeof text, "clocks %" PRIu64 " %" PRIu64 "\n", end - begin, device);
  board_print(text);
  print_rows((const uint16_t *)y, &job, columns);
  return 0;
}
