`default_nettype none

/// The arithmetic lanes of a beat for fast simulation: ports, bits and cycles of pim_lanes, with
/// the arithmetic and the accumulators in C++ (sim/dpi/pim_lane_dpi.cpp). Not synthesizable. Two
/// ports for the vector: a choice between them outside would be made in every clock.
///
/// One call for an operation, one for a read and none in idle cycles. Every instance owns its
/// accumulators, so several can live in one process.
///
/// Latency: none, an operation is done at the edge that ends its cycle. Under the rule that the
/// control keeps for pim_lanes (nothing meets an accumulator while an operation on it is in
/// flight) that cannot be told from a pipeline. A read in cycle n returns what the accumulators
/// held before the operation of cycle n, with the outputs valid in n+1. No back-pressure, no
/// reset.
module pim_lanes_native_sim #(
  /// Lanes in the beat, even.
  parameter int unsigned Lanes = 32,
  /// Accumulators of a lane, a power of two of at least 2.
  parameter int unsigned Groups = 16,
  /// Parts of the lane mask, of Lanes / Parts lanes each; at most 32.
  parameter int unsigned Parts = 1
) (
  /// Clock.
  input  wire logic                      clk_i,
  /// An operation in this cycle.
  input  wire logic                      valid_i,
  /// The operation.
  input  wire pim_pkg::lane_op_e         op_i,
  /// Accumulator set the operation works on.
  input  wire logic [$clog2(Groups)-1:0] group_i,
  /// Parts of the lanes that take part; bit 0 is the part with lane 0.
  input  wire logic [Parts-1:0]          mask_i,
  /// bfloat16 operand of all lanes; bit 0 names the half of the lanes for LaneLoadF32.
  input  wire logic [15:0]               scalar_i,
  /// bfloat16 operands, lane 0 in the low bits; Lanes / 2 binary32 for LaneLoadF32.
  input  wire logic [Lanes*16-1:0]       vector_i,
  /// 1: `slice_data_i` instead of `vector_i`.
  input  wire logic                      slice_i,
  input  wire logic [Lanes*16-1:0]       slice_data_i,
  /// Read an accumulator set into the output registers.
  input  wire logic                      read_i,
  /// Accumulator set to read.
  input  wire logic [$clog2(Groups)-1:0] read_group_i,
  /// Part of its significands that LaneScale takes, as in pim_lane.
  input  wire logic [1:0]                read_part_i,
  /// The set last read, rounded to bfloat16.
  output logic      [Lanes*16-1:0]       read_bf16_o,
  /// The set last read, binary32.
  output logic      [Lanes*32-1:0]       read_f32_o
);

  if (Groups < 2 || (Groups & (Groups - 1)) != 0) begin : gen_check_groups
    $fatal(0, "%m: Groups must be a power of two of at least 2, is %0d", Groups);
  end
  if (Lanes < 2 || Lanes % 2 != 0) begin : gen_check_lanes
    $fatal(0, "%m: Lanes must be even and at least 2, is %0d", Lanes);
  end
  if (Parts < 1 || Parts > 32 || Lanes % Parts != 0) begin : gen_check_parts
    $fatal(0, "%m: Parts must divide Lanes (%0d) and be 1 to 32, is %0d", Lanes, Parts);
  end

  import "DPI-C" function chandle pim_lanes_new(
    input int unsigned lanes, input int unsigned groups, input int unsigned parts);
  import "DPI-C" function void pim_lanes_delete(input chandle lanes);
  import "DPI-C" function void pim_lanes_operate(
    input chandle lanes, input int unsigned op, input int unsigned group,
    input int unsigned mask, input int unsigned scalar, input bit [Lanes*16-1:0] vector);
  import "DPI-C" function void pim_lanes_read(input chandle lanes, input int unsigned group);
  import "DPI-C" function int unsigned pim_lanes_word(
    input chandle lanes, input int unsigned index);
  import "DPI-C" function void pim_lanes_scale(
    input chandle lanes, input int unsigned group, input int unsigned mask,
    input int unsigned part, input int unsigned before_last, input bit [Lanes*16-1:0] vector);

  chandle state;
  initial state = pim_lanes_new(Lanes, Groups, Parts);
  final pim_lanes_delete(state);

  // What was read comes in words: a simulator would clear an output as wide as a beat in every clock.
  // Assigned at once; the registers change with all others.
  bit [Lanes*48-1:0] words;
  logic [1:0] read_part_q;
  function automatic void take_words();
    for (int unsigned i = 0; i < Lanes * 48 / 32; i++) words[i*32+:32] = pim_lanes_word(state, i);
  endfunction

  // The read comes first: it returns what the set held before an operation of the same cycle. What
  // LaneScale takes was read before this clock; the C++ keeps it, because registers that the block
  // which writes them reads would be copied in every clock.
  always_ff @(posedge clk_i) begin
    if (read_i) begin
      pim_lanes_read(state, 32'(read_group_i));
      take_words();
      read_bf16_o <= words[0+:Lanes*16];
      read_f32_o <= words[Lanes*16+:Lanes*32];
      read_part_q <= read_part_i;
    end
    if (valid_i && op_i == pim_pkg::LaneScale && slice_i) begin
      pim_lanes_scale(state, 32'(group_i), 32'(mask_i), 32'(read_part_q), 32'(read_i), slice_data_i);
    end else if (valid_i && op_i == pim_pkg::LaneScale) begin
      pim_lanes_scale(state, 32'(group_i), 32'(mask_i), 32'(read_part_q), 32'(read_i), vector_i);
    end else if (valid_i && slice_i) begin
      pim_lanes_operate(state, 32'(op_i), 32'(group_i), 32'(mask_i), 32'(scalar_i), slice_data_i);
    end else if (valid_i) begin
      pim_lanes_operate(state, 32'(op_i), 32'(group_i), 32'(mask_i), 32'(scalar_i), vector_i);
    end
  end

endmodule

`default_nettype wire
