/* Y = A x B on a board: A (P,Q), B (Q,R) in column tiles; values so small that every sum is exact.
 *
 * Rows begin at multiples of a beat, BEAT_BYTES of the device. A tile is `width` columns of B, at
 * most what the accumulators hold: (Q, width), row-major and contiguous; the last one is narrower.
 */
#include <stdio.h>

#include "pim_uio.h"

enum { P = 4, Q = 64, R = 700, SLOTS = 16, TIMEOUT_MS = 10000 };

static float a_of(uint32_t i, uint32_t k) { return (float)((i + 2 * k) % 5) - 2; }
static float b_of(uint32_t k, uint32_t j) { return (float)((3 * k + j) % 5) - 2; }
static uint32_t round_up(uint32_t value, uint32_t step) { return (value + step - 1) / step * step; }

/* Says what was wrong, where and what to do next, if anything was. */
static int failed(const struct pim_uio *board, struct pim *pim, int error, const char *step) {
  char text[512];
  if (error == PIM_OK) return 0;
  pim_explain(pim, error, text, sizeof text);
  return fprintf(stderr, "gemm: %s, %s: %s\n", board->name, step, text);
}

/* Writes A with rows of `row_a` elements, and the tiles of B with zeros behind column R. */
static void fill(uint16_t *a, uint32_t row_a, uint16_t *b, uint32_t columns, uint32_t width) {
  for (uint32_t i = 0; i < P * Q; i++) a[i / Q * row_a + i % Q] = pim_bf16(a_of(i / Q, i % Q));
  for (uint32_t left = 0; left < columns; left += width)
    for (uint32_t k = 0; k < Q; k++)
      for (uint32_t j = left; j < left + width && j < columns; j++)
        *b++ = j < R ? pim_bf16(b_of(k, j)) : 0;
}

static int multiply(const struct pim_uio *board, struct pim *pim) {
  uint32_t beat = pim->beat_bytes, row_a = round_up(Q * 2, beat), row_y = round_up(R * 2, beat);
  uint32_t beats = row_y / beat, tile = beats < pim->acc_groups ? beats : pim->acc_groups;
  uint32_t at_b = P * row_a, at_y = at_b + Q * row_y, wrong = 0, width = tile * beat / 2;
  uint64_t at = pim_data_offset(pim), host = pim_address(pim, at), all = at + at_y + P * row_y;
  uint16_t *a = (void *)(pim->buffer + at), *y = a + at_y / 2;
  if (all > pim->bytes)
    return fprintf(stderr, "gemm: the DMA buffer has %d bytes, list and operands take %d: load "
                   "u-dma-buf with a larger one, or name one in PIMLOOP_BOARD_BUFFER\n",
                   (int)pim->bytes, (int)all), 2;
  fill(a, row_a / 2, a + at_b / 2, row_y / 2, width);
  struct pim_product product = {.a = 0, .b = at_b, .y = at_y, .rows = P, .inner = Q, .tile = tile,
                                .cols = row_y / 2, .stride_a = row_a, .stride_y = row_y};
  struct pim_descriptor list[] = {pim_copy_in(host, 0, 1, at_y, 0, 0), pim_matmul(&product),
                                  pim_copy_out(host + at_y, at_y, P, row_y, row_y, row_y)};
  for (int i = 0; i < 3; i++)
    if (failed(board, pim, pim_add(pim, &list[i]), "writing the list")) return 2;
  if (failed(board, pim, pim_run(pim, TIMEOUT_MS), "running the list")) return 2;
  for (uint32_t i = 0; i < P * R; i++) {
    float sum = 0;
    for (uint32_t k = 0; k < Q; k++) sum += a_of(i / R, k) * b_of(k, i % R);
    wrong += pim_float(y[i / R * (row_y / 2) + i % R]) != sum;
  }
  printf("gemm %d x %d x %d, tiles of %u columns: %u values wrong, %llu DRAM clocks\n", P, Q, R,
         width, wrong, (unsigned long long)pim_counter(pim, PIM_REG_CNT_CYCLES_LO));
  return wrong != 0;
}

int main(void) {
  struct pim_uio board;
  struct pim pim;
  char message[512];
  if (pim_uio_open(&board, NULL, NULL, NULL, message, sizeof message) != PIM_OK)
    return fprintf(stderr, "gemm: %s\n", message), 2;
  struct pim_io io = pim_uio_io(&board);
  int error = pim_open(&pim, &io, board.buffer, board.address, board.bytes, SLOTS);
  int result = failed(&board, &pim, error, "opening the device") ? 2 : multiply(&board, &pim);
  pim_uio_close(&board); /* stops a list that did not end in time */
  return result;
}
