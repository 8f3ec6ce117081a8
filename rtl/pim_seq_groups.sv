`default_nettype none

/// The walk of a MATMUL through a column tile of its right operand, which is one run of addresses.
///
/// bfloat16: one stream. Integers: for each group of inner elements a stream of weights, then its
/// scales, three times from the same place. Everything is registered but `count_o`.
module pim_seq_groups #(
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned ScalarDepth = 4096
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  input  wire pim_isa_pkg::descriptor_t desc_i,
  /// The computation or a group of rows of the result starts: back to the first tile.
  input  wire logic                     restart_i,
  /// A tile begins, of so many beats of results from the next clock on.
  input  wire logic                     new_tile_i,
  input  wire logic [6:0]               width_i,
  /// The stream of right operands has been taken, the one of scales.
  input  wire logic                     stream_i,
  input  wire logic                     scale_i,
  /// The next stream begins here. Accesses of a stream of right operands, of a step of it.
  output logic      [31:0]              addr_o,
  output logic      [31:0]              count_o,
  output logic      [6:0]               period_o,
  /// The scales are wanted for the first, the last part of the sums; the group is the last one.
  output logic                          first_part_o,
  output logic                          last_part_o,
  output logic                          last_group_o
);

  localparam int unsigned InnerBits = $clog2(ScalarDepth + 1);
  typedef logic [InnerBits-1:0] inner_t;

  inner_t left_q, size_q, left;  // inner elements from this group on, of it; behind it
  logic [1:0] part_q;

  function automatic inner_t size_of(inner_t from);
    logic [31:0] most;
    most = 32'd1 << desc_i.control.group;
    size_of = desc_i.control.weights != pim_isa_pkg::WeightsBf16 && 32'(from) > most
        ? inner_t'(most) : from;
  endfunction

  assign left = new_tile_i ? inner_t'(desc_i.inner) : left_q - size_q;
  assign period_o = width_i >> desc_i.control.weights;
  assign count_o = 32'(size_q) * 32'(period_o);
  assign first_part_o = part_q == 2'd0;
  assign last_part_o = part_q == 2'd2;
  assign last_group_o = left_q == size_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      addr_o <= '0;
      left_q <= '0;
      size_q <= '0;
      part_q <= '0;
    end else begin
      if (restart_i) addr_o <= desc_i.addr_b;
      else if (stream_i) addr_o <= addr_o + count_o * BeatBytes;
      else if (scale_i && last_part_o) addr_o <= addr_o + 32'(width_i) * BeatBytes;
      if (scale_i) part_q <= last_part_o ? '0 : part_q + 2'd1;
      if (new_tile_i || (scale_i && last_part_o)) begin
        left_q <= left;
        size_q <= size_of(left);
      end
    end
  end

endmodule

`default_nettype wire
