/* Y = A x B on a board: A (4,64), B (64, one beat), values so small that every sum is exact. */
#include <stdio.h>
#include <string.h>

#include "pim_uio.h"

#define P 4u
#define Q 64u
#define TIMEOUT_MS 10000u

static float a_of(uint32_t i, uint32_t k) { return (float)((i + 2 * k) % 5) - 2; }
static float b_of(uint32_t k, uint32_t j) { return (float)((3 * k + j) % 5) - 2; }

/* Says what was wrong, where and what to do next, and leaves the board. */
static int give_up(struct pim_uio *board, struct pim *pim, int error, const char *step) {
  char text[512];
  pim_explain(pim, error, text, sizeof text);
  fprintf(stderr, "gemm: %s, %s: %s\n", board->name, step, text);
  pim_uio_close(board);
  return 2;
}

int main(void) {
  struct pim_uio board;
  struct pim pim;
  char message[512];
  if (pim_uio_open(&board, "", NULL, NULL, message, sizeof message) != PIM_OK) {
    fprintf(stderr, "gemm: %s\n", message);
    return 2;
  }
  struct pim_io io = pim_uio_io(&board);
  int error = pim_open(&pim, &io, board.buffer, board.address, board.bytes, 16);
  if (error != PIM_OK) return give_up(&board, &pim, error, "opening the device");
  /* Rows in host memory and in the device begin at multiples of a beat. */
  uint32_t beat = pim.beat_bytes, r = beat / 2, row_a = (Q * 2 + beat - 1) / beat * beat;
  uint64_t at = pim_data_offset(&pim), size_a = (uint64_t)P * row_a, size_b = (uint64_t)Q * beat;
  uint64_t needed = at + size_a + size_b + (uint64_t)P * beat;
  if (needed > board.bytes) {
    fprintf(stderr, "gemm: the DMA buffer has %llu bytes, list and operands take %llu: load "
            "u-dma-buf with a larger one, or name one in PIMLOOP_BOARD_BUFFER\n",
            (unsigned long long)board.bytes, (unsigned long long)needed);
    pim_uio_close(&board);
    return 2;
  }
  uint16_t *a = (void *)(pim.buffer + at), *b = (void *)(pim.buffer + at + size_a);
  uint16_t *y = (void *)(pim.buffer + at + size_a + size_b);
  for (uint32_t i = 0; i < P; i++)
    for (uint32_t k = 0; k < Q; k++) a[i * (row_a / 2) + k] = pim_bf16(a_of(i, k));
  for (uint32_t k = 0; k < Q; k++)
    for (uint32_t j = 0; j < r; j++) b[k * r + j] = pim_bf16(b_of(k, j));

  struct pim_product product = {.a = 0, .b = (uint32_t)size_a, .y = (uint32_t)(size_a + size_b),
                                .rows = P, .inner = Q, .cols = r,
                                .stride_a = row_a, .stride_y = beat, .tile = 1};
  struct pim_descriptor list[] = {
      pim_copy_in(pim_address(&pim, at), product.a, 1, (uint32_t)(size_a + size_b), 0, 0),
      pim_matmul(&product),
      pim_copy_out(pim_address(&pim, at + size_a + size_b), product.y, P, beat, beat, beat),
  };
  for (size_t i = 0; error == PIM_OK && i < sizeof list / sizeof *list; i++)
    error = pim_add(&pim, &list[i]);
  if (error != PIM_OK) return give_up(&board, &pim, error, "writing the list");
  error = pim_run(&pim, TIMEOUT_MS);
  if (error != PIM_OK) return give_up(&board, &pim, error, "running the list");
  int wrong = 0;
  for (uint32_t i = 0; i < P; i++)
    for (uint32_t j = 0; j < r; j++) {
      float sum = 0;
      for (uint32_t k = 0; k < Q; k++) sum += a_of(i, k) * b_of(k, j);
      wrong += pim_float(y[i * r + j]) != sum;
    }
  printf("gemm %u x %u x %u: %d values wrong, %llu DRAM clocks\n", P, Q, r, wrong,
         (unsigned long long)pim_counter(&pim, PIM_REG_CNT_CYCLES_LO));
  pim_uio_close(&board);
  return wrong != 0;
}
