/// Test top: the RTL lanes and the native lanes side by side on the same inputs.
///
/// The inputs pass a register first, as they do in the device: the native body must sample what
/// the RTL body samples although both sides of the registers change at the same edge. The native
/// body finds the vector at either of its two ports, and something else at the other.
module pim_lane_pair #(
  /// As in pim_lanes.
  parameter int unsigned Lanes = 32,
  /// As in pim_lanes.
  parameter int unsigned Groups = 16,
  /// As in pim_lanes.
  parameter int unsigned Parts = 1
) (
  input  logic                      clk_i,
  input  logic                      valid_i,
  input  pim_pkg::lane_op_e         op_i,
  input  logic [$clog2(Groups)-1:0] group_i,
  input  logic [Parts-1:0]          mask_i,
  input  logic [15:0]               scalar_i,
  input  logic [Lanes*16-1:0]       vector_i,
  input  logic                      read_i,
  input  logic [$clog2(Groups)-1:0] read_group_i,
  input  logic [1:0]                read_part_i,
  /// Outputs of the RTL body.
  output logic [Lanes*16-1:0]       rtl_bf16_o,
  output logic [Lanes*32-1:0]       rtl_f32_o,
  /// Outputs of the native body.
  output logic [Lanes*16-1:0]       native_bf16_o,
  output logic [Lanes*32-1:0]       native_f32_o,
  /// Clock edges so far at which the two bodies had different outputs.
  output logic [31:0]               mismatches_o
);

  logic valid_q, read_q;
  pim_pkg::lane_op_e op_q;
  logic [$clog2(Groups)-1:0] group_q, read_group_q;
  logic [Parts-1:0] mask_q;
  logic [1:0] read_part_q;
  logic [15:0] scalar_q;
  logic [Lanes*16-1:0] vector_q;
  logic slice;

  always_ff @(posedge clk_i) begin
    valid_q <= valid_i;
    op_q <= op_i;
    group_q <= group_i;
    mask_q <= mask_i;
    scalar_q <= scalar_i;
    vector_q <= vector_i;
    read_q <= read_i;
    read_group_q <= read_group_i;
    read_part_q <= read_part_i;
  end

  assign slice = ^vector_q;

  pim_lanes #(
    .Lanes  (Lanes),
    .Groups (Groups),
    .Parts  (Parts)
  ) u_rtl (
    .clk_i,
    .valid_i      (valid_q),
    .op_i         (op_q),
    .group_i      (group_q),
    .mask_i       (mask_q),
    .scalar_i     (scalar_q),
    .vector_i     (vector_q),
    .read_i       (read_q),
    .read_group_i (read_group_q),
    .read_part_i  (read_part_q),
    .read_bf16_o  (rtl_bf16_o),
    .read_f32_o   (rtl_f32_o)
  );

  pim_lanes_native_sim #(
    .Lanes  (Lanes),
    .Groups (Groups),
    .Parts  (Parts)
  ) u_native (
    .clk_i,
    .valid_i      (valid_q),
    .op_i         (op_q),
    .group_i      (group_q),
    .mask_i       (mask_q),
    .scalar_i     (scalar_q),
    .vector_i     (slice ? ~vector_q : vector_q),
    .slice_i      (slice),
    .slice_data_i (slice ? vector_q : ~vector_q),
    .read_i       (read_q),
    .read_group_i (read_group_q),
    .read_part_i  (read_part_q),
    .read_bf16_o  (native_bf16_o),
    .read_f32_o   (native_f32_o)
  );

  initial mismatches_o = '0;
  always_ff @(posedge clk_i) begin
    if (rtl_bf16_o != native_bf16_o || rtl_f32_o != native_f32_o) begin
      mismatches_o <= mismatches_o + 1;
    end
  end

endmodule
