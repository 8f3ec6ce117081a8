/* See board.h. VexRiscv as LiteX has it: interrupt lines are masked in a register of its own. */
#include "board.h"

#include <stdio.h>

/* Numbers of control and status registers, which the assembler has no names for. */
#define IRQ_MASK "0xBC0"
#define EXTERNAL_INTERRUPTS 0x800u /* in mie */
#define GLOBAL_INTERRUPTS 0x8u     /* in mstatus */
#define CAUSE_EXTERNAL 0x8000000Bu

static volatile uint32_t raised;

uint32_t board_read(uint32_t address) { return *(volatile uint32_t *)address; }

void board_write(uint32_t address, uint32_t value) { *(volatile uint32_t *)address = value; }

uint64_t board_clocks(void) {
  uint32_t high, low, again;
  do {
    __asm__ volatile("csrr %0, mcycleh" : "=r"(high));
    __asm__ volatile("csrr %0, mcycle" : "=r"(low));
    __asm__ volatile("csrr %0, mcycleh" : "=r"(again));
  } while (high != again);
  return (uint64_t)high << 32 | low;
}

static void set_mask(uint32_t lines) { __asm__ volatile("csrw " IRQ_MASK ", %0" ::"r"(lines)); }

/* An interrupt is masked, because its line stays high until its source is told; all else ends the
 * program. */
__attribute__((interrupt("machine"), aligned(4))) void board_trap(void) {
  uint32_t cause, place;
  __asm__ volatile("csrr %0, mcause" : "=r"(cause));
  if (cause == CAUSE_EXTERNAL) {
    set_mask(0);
    raised = 1;
    return;
  }
  __asm__ volatile("csrr %0, mepc" : "=r"(place));
  char text[64];
  snprintf(text, sizeof text, "trap: cause %lu at 0x%lX\n", (unsigned long)cause,
           (unsigned long)place);
  board_print(text);
  board_finish(BOARD_ERROR_TRAP);
}

int board_wait(uint32_t line, uint64_t clocks) {
  uint64_t end = board_clocks() + clocks;
  raised = 0;
  set_mask(1u << line);
  __asm__ volatile("csrs mie, %0" ::"r"(EXTERNAL_INTERRUPTS));
  __asm__ volatile("csrs mstatus, %0" ::"r"(GLOBAL_INTERRUPTS));
  while (!raised && board_clocks() < end) {
  }
  __asm__ volatile("csrc mstatus, %0" ::"r"(GLOBAL_INTERRUPTS));
  set_mask(0);
  return raised != 0;
}

void board_drop_cache(void) { __asm__ volatile(".word 0x500F" ::: "memory"); }

void board_print(const char *text) {
  while (*text) {
    while (board_read(SOC_UART_TXFULL)) {
    }
    board_write(SOC_UART_RXTX, (uint8_t)*text++);
  }
}

_Noreturn void board_finish(int code) {
  while (!board_read(SOC_UART_TXEMPTY)) {
  }
  board_write(SOC_FINISH, (uint32_t)code);
  for (;;) {
  }
}
