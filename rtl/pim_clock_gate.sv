/// Clock gate: lets those pulses of a clock through that a block needs.
///
/// `en_i` is taken while the clock is low, so it may depend on registers on either side of the
/// gate, and the output has whole pulses only. A clock buffer with enable on an FPGA, a library
/// cell on a chip.
module pim_clock_gate (
  input  logic clk_i,
  /// The next rising edge passes.
  input  logic en_i,
  output logic clk_o
);

  logic en_q;

  always_latch if (!clk_i) en_q = en_i;

  assign clk_o = clk_i && en_q;

endmodule
