/* Linker script, after the preprocessor: code and constants in ROM, the rest in SRAM. */
#include "soc.h"

ENTRY(_start)

MEMORY {
  rom (rx) : ORIGIN = SOC_ROM, LENGTH = SOC_ROM_BYTES
  sram (rw) : ORIGIN = SOC_SRAM, LENGTH = SOC_SRAM_BYTES
}

SECTIONS {
  .text : {
    KEEP(*(.start))
    *(.text .text.* .rodata .rodata.* .srodata .srodata.*)
    . = ALIGN(4);
  } > rom
  _data_source = .;
  .data : AT(_data_source) {
    _data_start = .;
    *(.data .data.*)
    __global_pointer$ = . + 0x800;
    *(.sdata .sdata.*)
    . = ALIGN(4);
    _data_end = .;
  } > sram
  .bss (NOLOAD) : {
    _bss_start = .;
    *(.sbss .sbss.* .bss .bss.* COMMON)
    . = ALIGN(4);
    _bss_end = .;
  } > sram
  _stack_top = SOC_SRAM + SOC_SRAM_BYTES;
  ASSERT(_bss_end + 4096 <= _stack_top, "less than 4 KiB are left for the stack")
}
