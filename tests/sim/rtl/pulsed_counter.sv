/// `counter` on a clock that can also come as pulses, as that of the simulated board.
module pulsed_counter #(
    parameter int Width = 8
) (
    input  logic             clk_i,
    input  logic             pulse_i,
    input  logic             pulsed_i,
    input  logic             rst_ni,
    input  logic             en_i,
    output logic [Width-1:0] count_o,
    output logic             wrap_o,
    /// Rising edges that came as pulses.
    output logic      [15:0] pulses_o
);
  logic clk;
  pim_pulse_clock_sim u_clock (.clk_i, .pulse_i, .pulsed_i, .clk_o(clk));
  always_ff @(posedge clk) pulses_o <= !rst_ni ? 16'd0 : pulses_o + 16'(!clk_i);

  counter #(.Width(Width)) u_counter (.clk_i(clk), .rst_ni, .en_i, .count_o, .wrap_o);
endmodule
