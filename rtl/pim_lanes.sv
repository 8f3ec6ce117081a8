`default_nettype none

/// The arithmetic lanes of a beat, as RTL: `Lanes` copies of pim_lane behind one operation port.
///
/// pim_lanes_native_sim has the same ports, bits and cycles with a C++ body.
///
/// Latency: an operation presented in cycle n is in the accumulators after the edge that ends
/// cycle n+3. So a lane must not be given an operation on, or a read of, the same accumulator in
/// n+1..n+3; the control keeps them `Latency` cycles apart. A read in cycle n returns what the
/// accumulators held before the operation of cycle n; the outputs are valid in n+1 and keep their
/// value until the next read. No back-pressure, no reset: a set holds no defined value before its
/// first write.
module pim_lanes #(
  /// Lanes in the beat, even.
  parameter int unsigned Lanes = 32,
  /// Accumulators of a lane, a power of two of at least 2.
  parameter int unsigned Groups = 16,
  /// Parts of the lane mask, of Lanes / Parts lanes each; at most 32.
  parameter int unsigned Parts = 1,
  /// Clocks the control keeps between operations on one set, at least 4: the depth of pim_lane.
  parameter int unsigned Latency = 4,
  /// 1: the lanes have the operations of integers.
  parameter bit Integers = 1'b1
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

  if (Lanes < 2 || Lanes % 2 != 0) begin : gen_check_lanes
    $fatal(0, "%m: Lanes must be even and at least 2, is %0d", Lanes);
  end
  if (Parts < 1 || Parts > 32 || Lanes % Parts != 0) begin : gen_check_parts
    $fatal(0, "%m: Parts must divide Lanes (%0d) and be 1 to 32, is %0d", Lanes, Parts);
  end
  if (Latency < 4) begin : gen_check_latency
    $fatal(0, "%m: Latency must be at least 4, the depth of the lanes, is %0d", Latency);
  end

  localparam int unsigned LanesPerPart = Lanes / Parts;
  localparam int unsigned HalfLanes = Lanes / 2;

  // Halves of the lanes that an operation reaches: only LaneLoadF32 works on one of them.
  logic [1:0] half_valid;
  assign half_valid = !valid_i ? 2'b00
      : (op_i != pim_pkg::LaneLoadF32) ? 2'b11
      : scalar_i[0] ? 2'b10 : 2'b01;

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    pim_lane #(
      .Groups(Groups),
      .Integers(Integers)
    ) u_lane (
      .clk_i,
      .valid_i     (half_valid[l/HalfLanes] && mask_i[l/LanesPerPart]),
      .op_i,
      .group_i,
      .scalar_i,
      .vector_i    (vector_i[l*16 +: 16]),
      .word_i      (vector_i[(l%HalfLanes)*32 +: 32]),
      .read_i,
      .read_group_i,
      .read_part_i,
      .read_bf16_o (read_bf16_o[l*16 +: 16]),
      .read_f32_o  (read_f32_o[l*32 +: 32])
    );
  end

endmodule

`default_nettype wire
