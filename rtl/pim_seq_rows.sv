`default_nettype none

/// The rows of a computation, in groups of those that share each beat of the right operand, and the
/// addresses of A, C and Y of the current row.
///
/// A product has `RowsPerBeat` rows in a group, with several weights in the 16 bits of a lane as many
/// times fewer, and its last group maybe less; a vector operation one. In
/// each phase of a tile (scalars, start values, result) the members come one after the other, and
/// `member_o` starts again with the first. Everything is registered but the two ends.
module pim_seq_rows #(
  /// Rows of a group; at most 8.
  parameter int unsigned RowsPerBeat = 1,
  /// Bits of the number of a row that are wanted.
  parameter int unsigned IndexBits = 12,
  /// Bits of `further_i`.
  parameter int unsigned RowBits = 4
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  input  wire pim_isa_pkg::descriptor_t desc_i,
  /// Each row is a group of its own.
  input  wire logic                     single_i,
  /// Bytes between rows of C.
  input  wire logic [31:0]              stride_c_i,
  /// The computation starts; a tile of the group is done; its last tile is.
  input  wire logic                     start_i,
  input  wire logic                     tile_i,
  input  wire logic                     next_i,
  /// The member is done with: its scalars, start values from memory or of one value, result.
  input  wire logic                     scalar_i,
  input  wire logic                     init_i,
  input  wire logic                     splat_i,
  input  wire logic                     out_i,
  /// Vector operation: rows of a tile besides the first; another one follows in A, in Y.
  input  wire logic [RowBits-1:0]       further_i,
  input  wire logic                     more_a_i,
  input  wire logic                     more_y_i,
  /// First row of the group, member of the group, last member of it.
  output logic      [IndexBits-1:0]     row_o,
  output logic      [2:0]               member_o,
  output logic      [2:0]               last_o,
  output logic      [31:0]              a_o,
  output logic      [31:0]              c_o,
  output logic      [31:0]              y_o,
  /// The member is the last one, the group is the last one.
  output logic                          group_end_o,
  output logic                          rows_end_o,
  /// Rows from the first one of the group on.
  output logic      [31:0]              rows_left_o
);

  logic [31:0] row_q, next_row, left, next_a, next_c, next_y;
  logic [31:0] c_first_q, y_first_q;  // of the first member
  logic [3:0] together;               // rows of a group

  assign row_o = row_q[IndexBits-1:0];
  assign together = 4'(RowsPerBeat) >> desc_i.control.weights;
  assign next_row = row_q + 32'(last_o) + 32'(further_i) + 32'd1;
  assign rows_left_o = desc_i.rows - row_q;
  assign left = start_i ? desc_i.rows : desc_i.rows - next_row;
  assign next_a = a_o + desc_i.stride_a;
  assign next_c = c_o + stride_c_i;
  assign next_y = y_o + desc_i.stride_y;
  assign group_end_o = member_o == last_o;
  assign rows_end_o = next_row == desc_i.rows;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      row_q <= '0;
      member_o <= '0;
      last_o <= '0;
      a_o <= '0;
      c_o <= '0;
      y_o <= '0;
      c_first_q <= '0;
      y_first_q <= '0;
    end else begin
      if (scalar_i || init_i || splat_i || out_i) member_o <= group_end_o ? '0 : member_o + 3'd1;
      if ((scalar_i && !group_end_o) || more_a_i) a_o <= next_a;
      if (init_i && !group_end_o) c_o <= next_c;
      if ((out_i && !group_end_o) || more_y_i) y_o <= next_y;
      if (tile_i) begin
        c_o <= c_first_q;
        y_o <= y_first_q;
      end
      if (next_i) begin
        row_q <= next_row;
        a_o <= next_a;
        c_o <= next_c;
        c_first_q <= next_c;
        y_o <= next_y;
        y_first_q <= next_y;
      end
      if (start_i) begin
        row_q <= '0;
        a_o <= desc_i.addr_a;
        c_o <= desc_i.host_lo;
        c_first_q <= desc_i.host_lo;
        y_o <= desc_i.addr_y;
        y_first_q <= desc_i.addr_y;
      end
      if (start_i || next_i) begin
        last_o <= single_i ? '0
                  : left < 32'(together) ? left[2:0] - 3'd1 : 3'(together - 4'd1);
      end
    end
  end

endmodule

`default_nettype wire
