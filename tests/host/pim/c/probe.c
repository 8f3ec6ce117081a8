/* What a test in Python has to know of structures of pim.h. */
#include "pim_uio.h"

size_t probe_pim_bytes(void) { return sizeof(struct pim); }
size_t probe_uio_bytes(void) { return sizeof(struct pim_uio); }
uint32_t probe_code(const struct pim *pim) { return pim->code; }
uint32_t probe_failed(const struct pim *pim) { return pim->failed; }
uint64_t probe_capacity(const struct pim *pim) { return pim->capacity; }
uint32_t probe_rows_per_beat(const struct pim *pim) { return pim->rows_per_beat; }
/* Returns the descriptor that was there. */
int probe_set_uio(struct pim_uio *board, int descriptor) {
  int before = board->uio;
  board->uio = descriptor;
  return before;
}

void *probe_buffer(const struct pim_uio *board) { return board->buffer; }
uint64_t probe_address(const struct pim_uio *board) { return board->address; }
