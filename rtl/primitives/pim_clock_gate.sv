`default_nettype none

/// Clock gate: lets those pulses of a clock through that a block needs.
///
/// `en_i` is taken while the clock is low, so it may depend on registers on either side of the
/// gate, and the output has whole pulses only. A clock buffer with enable on an FPGA, a library
/// cell on a chip. With `PIM_NO_CLOCK_GATES` every pulse passes, for tools without such a cell: a
/// gate stops clocks of what cannot change, so the function is the same.
module pim_clock_gate (
  input  wire logic clk_i,
  /// The next rising edge passes.
  input  wire logic en_i,
  output logic      clk_o
);

`ifdef PIM_NO_CLOCK_GATES
  logic unused;
  assign unused = en_i;
  assign clk_o = clk_i;
`else
  logic en_q;

  always_latch if (!clk_i) en_q = en_i;

  assign clk_o = clk_i && en_q;
`endif

endmodule

`default_nettype wire
