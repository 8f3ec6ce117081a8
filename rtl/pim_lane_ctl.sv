`default_nettype none

/// Between the DRAM array and the lanes: hands every read beat to its consumer (pim_lane_feed)
/// and collects the data of every write (pim_lane_result).
module pim_lane_ctl #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096,
  parameter int unsigned LaneLatency = 4,
  /// Fabric clocks the lanes need for a beat and as many rows as they serve at the same time.
  parameter int unsigned LanePasses = 1,
  /// Rows of the left operand for a beat; those at the same time.
  parameter int unsigned RowsPerBeat = 1,
  parameter int unsigned LaneSets = 1,
  /// Blocks of a transposed operand that leave at the same time.
  parameter int unsigned TransposeWays = 1,
  /// 1: the lanes are DPI code, the buffers those for fast simulation.
  parameter bit NativeLanes = 1'b0,
  /// 1: registers stand in for the lanes (rtl/synth).
  parameter bit ControlOnly = 1'b0
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  input  wire logic              flush_i,
  /// Data time of a read; two clocks before the data time of a write.
  input  wire pim_pkg::access_t  read_i,
  input  wire pim_pkg::access_t  write_i,
  /// Data of the read announced one clock ago.
  input  wire logic [BeatBytes*8-1:0] read_data_i,
  /// The write announced two clocks ago, and its data.
  output      pim_pkg::access_t  write_o,
  output logic      [BeatBytes*8-1:0] write_data_o,
  /// Something is still on its way to or through the lanes.
  output logic                   busy_o,

  /// Static for a descriptor: KindMac starts its sum from +0; weights of its right operand.
  input  wire logic              zero_init_i,
  input  wire logic [1:0]        weights_i,
  /// Static for a stream: operation and scalar of KindEw (0: +1, 1: -1, 2: scalar buffer).
  input  wire pim_pkg::lane_op_e ew_op_i,
  input  wire logic [1:0]        ew_scalar_i,
  /// Entry of the scalar buffer that KindEw and splat use, from a clock before the first of them on;
  /// 0 while a product runs.
  input  wire logic [$clog2(ScalarDepth)-1:0] scalar_index_i,
  /// Fill one group of accumulators of a row with that entry (or +0, or its negative).
  input  wire logic              splat_i,
  input  wire logic              splat_zero_i,
  input  wire logic              splat_negate_i,
  input  wire logic [2:0]        splat_row_i,
  input  wire logic [$clog2(AccGroups)-1:0] splat_group_i,

  /// Announce a block to the transpose buffer, and the last row that it is for.
  input  wire logic              block_open_i,
  input  wire logic [2:0]        block_row_i,
  input  wire logic [$clog2(AccGroups)-1:0] block_group_i,
  input  wire logic [$clog2(BeatBytes/2+1)-1:0] block_atoms_i,
  input  wire logic [$clog2(ScalarDepth)-1:0] block_base_i,
  input  wire logic [$clog2(AtomBytes/2+1)-1:0] block_slices_i,
  output logic                   block_room_o,

  /// Atom for the host.
  output logic                   copy_out_valid_o,
  output logic      [AtomBytes*8-1:0] copy_out_data_o,
  /// Atom from the host; `copy_in_pop_o` takes it.
  input  wire logic [AtomBytes*8-1:0] copy_in_data_i,
  output logic                   copy_in_pop_o,

  /// Rows that the lanes multiply and add in this clock.
  output logic [3:0]             mac_o
);

  localparam int unsigned BeatElems = BeatBytes / 2;
  localparam int unsigned Parts = BeatBytes / AtomBytes;

  if (AccGroups < 2 || (AccGroups & (AccGroups - 1)) != 0) begin : gen_check
    $error("%m: AccGroups must be a power of two, at least 2");
  end

  logic lane_valid;
  pim_pkg::lane_op_e lane_op;
  logic [$clog2(AccGroups)-1:0] lane_group, acc_group;
  logic [Parts-1:0] lane_mask;
  logic [RowsPerBeat-1:0][15:0] lane_scalars;
  logic [2:0] lane_row, acc_row;
  logic lane_slice, acc_read, scale;
  logic [BeatBytes*8-1:0] lane_slice_data;
  logic [$clog2(AccGroups)-1:0] scale_group;
  logic [1:0] scale_part;
  logic [BeatElems*16-1:0] acc_bf16;
  logic [BeatElems*32-1:0] acc_f32;

  pim_lane_feed #(
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .AccGroups(AccGroups),
    .ScalarDepth(ScalarDepth),
    .LaneLatency(LaneLatency),
    .LanePasses(LanePasses),
    .RowsPerBeat(RowsPerBeat),
    .LaneSets(LaneSets),
    .TransposeWays(TransposeWays),
    .NativeLanes(NativeLanes)
  ) u_feed (
    .clk_i,
    .rst_ni,
    .flush_i,
    .read_i,
    .read_data_i,
    .busy_o,
    .zero_init_i,
    .integers_i(weights_i != pim_isa_pkg::WeightsBf16),
    .ew_op_i,
    .ew_scalar_i,
    .scalar_index_i,
    .splat_i,
    .splat_zero_i,
    .splat_negate_i,
    .splat_row_i,
    .splat_group_i,
    .block_open_i,
    .block_row_i,
    .block_group_i,
    .block_atoms_i,
    .block_base_i,
    .block_slices_i,
    .block_room_o,
    .copy_out_valid_o,
    .copy_out_data_o,
    .lane_valid_o(lane_valid),
    .lane_op_o(lane_op),
    .lane_row_o(lane_row),
    .lane_group_o(lane_group),
    .lane_mask_o(lane_mask),
    .lane_scalars_o(lane_scalars),
    .lane_slice_o(lane_slice),
    .lane_slice_data_o(lane_slice_data),
    .scale_o(scale),
    .scale_group_o(scale_group),
    .scale_part_o(scale_part)
  );

  pim_lane_rows #(
    .Lanes(BeatElems),
    .Groups(AccGroups),
    .Parts(Parts),
    .Latency(LaneLatency),
    .Rows(RowsPerBeat),
    .Sets(LaneSets),
    .NativeLanes(NativeLanes),
    .ControlOnly(ControlOnly)
  ) u_rows (
    .clk_i,
    .rst_ni,
    .weights_i,
    .valid_i(lane_valid),
    .op_i(lane_op),
    .row_i(lane_row),
    .group_i(lane_group),
    .mask_i(lane_mask),
    .scalars_i(lane_scalars),
    .beat_i(read_data_i),
    .slice_i(lane_slice),
    .slice_data_i(lane_slice_data),
    .scale_i(scale),
    .scale_group_i(scale_group),
    .scale_part_i(scale_part),
    .read_i(acc_read),
    .read_row_i(acc_row),
    .read_group_i(acc_group),
    .read_bf16_o(acc_bf16),
    .read_f32_o(acc_f32),
    .rows_o(mac_o)
  );

  pim_lane_result #(
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .AccGroups(AccGroups)
  ) u_result (
    .clk_i,
    .rst_ni,
    .flush_i,
    .write_i,
    .write_o,
    .write_data_o,
    .acc_read_o(acc_read),
    .acc_row_o(acc_row),
    .acc_group_o(acc_group),
    .acc_bf16_i(acc_bf16),
    .acc_f32_i(acc_f32),
    .copy_in_data_i,
    .copy_in_pop_o
  );

endmodule

`default_nettype wire
