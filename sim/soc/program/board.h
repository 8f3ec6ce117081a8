/* What the SoC has: registers, an interrupt, a count of clocks, a console, an end. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

#include "soc.h"

#define BOARD_ERROR_TRAP 3 /* exit code after an exception */

uint32_t board_read(uint32_t address);
void board_write(uint32_t address, uint32_t value);

/* Clocks of the CPU since the reset. */
uint64_t board_clocks(void);

/* Waits until an interrupt line is high; returns 0 when it is not after so many clocks. The line is
 * masked while nobody waits. */
int board_wait(uint32_t line, uint64_t clocks);

/* Forgets what the data cache holds: another master may have written to memory. */
void board_drop_cache(void);

void board_print(const char *text);

/* Ends the simulation. */
_Noreturn void board_finish(int code);

#endif
