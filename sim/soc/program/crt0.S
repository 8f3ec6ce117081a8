/* Start of a program in the ROM of the SoC: registers, stack, data, then main. */
  .section .start, "ax"
  .globl _start
_start:
  la sp, _stack_top
  .option push
  .option norelax  /* or it is made relative to itself */
  la gp, __global_pointer$
  .option pop
  la t0, board_trap
  csrw mtvec, t0
  la t0, _data_start
  la t1, _data_end
  la t2, _data_source
1:
  bgeu t0, t1, 2f
  lw t3, 0(t2)
  sw t3, 0(t0)
  addi t0, t0, 4
  addi t2, t2, 4
  j 1b
2:
  la t0, _bss_start
  la t1, _bss_end
3:
  bgeu t0, t1, 4f
  sw zero, 0(t0)
  addi t0, t0, 4
  j 3b
4:
  call main
  call board_finish
