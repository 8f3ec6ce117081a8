`default_nettype none

/// One lane with its neighbours, for synthesis, place and route: the registers of pim_lane_feed
/// that feed it, the choice between a slice of the transpose buffer and read data, the lane's
/// share of pim_lanes, and the register that collects what is written.
module pim_lane_harness #(
  parameter int unsigned Groups = 16,
  /// 1: as where several rows share a beat, pim_lane_unpack before it.
  parameter bit Integers = 1'b0
) (
  input  wire logic                      clk_i,
  input  wire logic                      valid_i,
  input  wire pim_pkg::lane_op_e         op_i,
  input  wire logic [$clog2(Groups)-1:0] group_i,
  input  wire logic                      slice_i,
  input  wire logic                      mask_i,
  input  wire logic [15:0]               scalar_i,
  input  wire logic [15:0]               slice_data_i,
  input  wire logic [31:0]               read_data_i,
  input  wire logic                      read_i,
  input  wire logic [$clog2(Groups)-1:0] read_group_i,
  input  wire logic [1:0]                read_part_i,
  input  wire logic [1:0]                weights_i,
  input  wire logic [2:0]                column_i,
  input  wire logic                      wide_i,
  output logic      [31:0]               write_data_o
);

  logic valid_q, slice_q, mask_q, read_q, wide_q;
  pim_pkg::lane_op_e op_q;
  logic [$clog2(Groups)-1:0] group_q, read_group_q;
  logic [1:0] read_part_q, weights_q;
  logic [2:0] column_q;
  logic [15:0] scalar_q, slice_data_q, vector, operand, bf16;
  logic [31:0] read_data_q, f32;

  always_ff @(posedge clk_i) begin
    valid_q <= valid_i;
    op_q <= Integers ? op_i : pim_pkg::lane_op_e'({1'b0, op_i[2:0]});  // what its sequencer gives
    group_q <= group_i;
    slice_q <= slice_i;
    mask_q <= mask_i;
    scalar_q <= scalar_i;
    slice_data_q <= slice_data_i;
    read_data_q <= read_data_i;
    read_q <= read_i;
    read_group_q <= read_group_i;
    read_part_q <= read_part_i;
    weights_q <= weights_i;
    column_q <= column_i;
    wide_q <= wide_i;
    write_data_o <= wide_q ? f32 : {16'b0, bf16};
  end

  assign vector = slice_q ? slice_data_q : read_data_q[15:0];
  if (Integers) begin : gen_unpack
    pim_lane_unpack #(
      .Lanes(1)
    ) u_unpack (
      .weights_i(weights_q), .integers_i(op_q inside {pim_pkg::LaneMacI, pim_pkg::LaneMaczI}),
      .column_i(column_q), .vector_i(vector), .vector_o(operand)
    );
  end else begin : gen_plain
    logic unused;
    assign unused = ^{weights_q, column_q};
    assign operand = vector;
  end

  pim_lane #(
    .Groups(Groups),
    .Integers(Integers)
  ) u_lane (
    .clk_i,
    .valid_i      (valid_q && (op_q != pim_pkg::LaneLoadF32 || !scalar_q[0])
                   && (!slice_q || mask_q)),
    .op_i         (op_q),
    .group_i      (group_q),
    .scalar_i     (scalar_q),
    .vector_i     (operand),
    .word_i       (read_data_q),
    .read_i       (read_q),
    .read_group_i (read_group_q),
    .read_part_i  (read_part_q),
    .read_bf16_o  (bf16),
    .read_f32_o   (f32)
  );

endmodule

`default_nettype wire
