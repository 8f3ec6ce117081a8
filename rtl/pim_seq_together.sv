`default_nettype none

/// The rows of a vector operation that go together: as many as the accumulators have room for.
///
/// The sequencer goes over them in passes (start values, operands, results), a step for each row. The
/// first pass counts them; every other one ends where that did. Without `together_i` a row is alone.
module pim_seq_together #(
  parameter int unsigned AccGroups = 16,
  parameter int unsigned LaneLatency = 4
) (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  /// A tile is a whole row, and others may go with it.
  input  wire logic        together_i,
  /// Rows of the result from the first one of the tile on.
  input  wire logic [31:0] rows_left_i,
  /// A tile begins, of so many beats.
  input  wire logic        new_tile_i,
  input  wire logic [6:0]  width_i,
  /// The row in hand has been taken.
  input  wire logic        step_i,
  /// Another row of this pass follows the one in hand.
  output logic             more_o,
  /// The row in hand, and the last one of the first pass, from 0.
  output logic [$clog2(AccGroups)-1:0] part_o,
  output logic [$clog2(AccGroups)-1:0] last_part_o,
  /// Beats up to the row in hand in the first pass, of all of them afterwards.
  output logic [6:0]       beats_o,
  /// These are fewer than the clocks between two operations on one accumulator.
  output logic             narrow_o
);

  logic counting_q, fits;
  logic [6:0] width_q;

  assign fits = together_i && 32'(part_o) + 32'd1 != rows_left_i &&
      8'(beats_o) + 8'(width_q) <= 8'(AccGroups);
  assign more_o = counting_q ? fits : part_o != last_part_o;
  assign narrow_o = 32'(counting_q ? width_q : beats_o) < LaneLatency;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      counting_q <= 1'b0;
      width_q <= '0;
      part_o <= '0;
      last_part_o <= '0;
      beats_o <= '0;
    end else if (new_tile_i) begin
      counting_q <= 1'b1;
      width_q <= width_i;
      part_o <= '0;
      last_part_o <= '0;
      beats_o <= width_i;
    end else if (step_i) begin
      part_o <= more_o ? part_o + 1'b1 : '0;
      if (counting_q && more_o) beats_o <= beats_o + width_q;
      if (counting_q && !more_o) begin
        counting_q <= 1'b0;
        last_part_o <= part_o;
      end
    end
  end

endmodule

`default_nettype wire
