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

  localparam int unsigned RowBits = $clog2(AccGroups + 1);

  logic counting_q;
  // Known a clock ahead, since the row that follows is soon needed after this: another row goes with
  // those up to the one in hand; the rows behind that one, at most `AccGroups` of them.
  logic fits_q;
  logic [RowBits-1:0] behind_q, behind_first;
  logic [6:0] width_q;

  assign behind_first = rows_left_i > 32'(AccGroups) ? RowBits'(AccGroups)
                                                     : RowBits'(rows_left_i - 32'd1);
  assign more_o = counting_q ? fits_q : part_o != last_part_o;
  assign narrow_o = 32'(counting_q ? width_q : beats_o) < LaneLatency;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      counting_q <= 1'b0;
      fits_q <= 1'b0;
      behind_q <= '0;
      width_q <= '0;
      part_o <= '0;
      last_part_o <= '0;
      beats_o <= '0;
    end else if (new_tile_i) begin
      counting_q <= 1'b1;
      fits_q <= together_i && behind_first != '0 && width_i <= 7'(AccGroups / 2);
      behind_q <= behind_first;
      width_q <= width_i;
      part_o <= '0;
      last_part_o <= '0;
      beats_o <= width_i;
    end else if (step_i) begin
      part_o <= more_o ? part_o + 1'b1 : '0;
      if (counting_q && more_o) begin
        fits_q <= behind_q != RowBits'(1'b1) && 9'(beats_o) + 9'({width_q, 1'b0}) <= 9'(AccGroups);
        behind_q <= behind_q - 1'b1;
        beats_o <= beats_o + width_q;
      end
      if (counting_q && !more_o) begin
        counting_q <= 1'b0;
        last_part_o <= part_o;
      end
    end
  end

endmodule

`default_nettype wire
