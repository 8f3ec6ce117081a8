`default_nettype none

/// A clock that can also come as whole pulses.
///
/// A main program that waits for nothing at the falling edge has a whole clock in one evaluation: it
/// changes `pulse_i` instead of raising and lowering `clk_i` (sim/verilator/main.cpp). `pulsed_i` with
/// `clk_i` high says that the edge of this `clk_i` came as such a pulse. Both stay low otherwise.
module pim_pulse_clock_sim (
    input  wire logic clk_i,
    input  wire logic pulse_i,
    input  wire logic pulsed_i,
    output logic      clk_o
);

  // High from a change of `pulse_i` until what the edge triggers is done, in the same time step.
  logic pulse_q;
  assign clk_o = (clk_i && !pulsed_i) || pulse_i != pulse_q;
  always_ff @(posedge clk_o) pulse_q <= pulse_i;

endmodule

`default_nettype wire
