`default_nettype none

/// Engine of the device: copies, compute sequencer, cutting of streams into spans, lanes.
///
/// It works on one descriptor at a time, which the front end hands it, checked. What a copy or a
/// computation wants of device memory leaves as spans to the channel; the data of their accesses
/// come and go here, at times that the channel tells.
module pim_engine #(
  parameter pim_blocks_pkg::geometry_t Geometry = '0
) (
  input  wire logic                           clk_i,
  /// Clock of the copies; stands still without them.
  input  wire logic                           clk_host_i,
  input  wire logic                           rst_ni,

  input  wire pim_isa_pkg::descriptor_t       desc_i,
  input  wire pim_blocks_pkg::work_t          work_i,
  output      pim_blocks_pkg::done_t          done_o,

  /// DMA, for copies.
  output      pim_blocks_pkg::dma_ask_t       dma_o,
  output      pim_pkg::job_t                  dma_job_o,
  output logic      [511:0]                   wr_data_o,
  input  wire pim_blocks_pkg::dma_state_t     dma_i,
  input  wire logic [511:0]                   rd_data_i,

  output      pim_blocks_pkg::engine_state_t  state_o,
  output      pim_pkg::span_t                 span_o,
  input  wire pim_blocks_pkg::channel_state_t channel_i,
  /// Data time of a read; two clocks before the data time of a write.
  input  wire pim_pkg::access_t               read_i,
  input  wire pim_pkg::access_t               write_i,
  /// Data of the read announced one clock ago.
  input  wire logic [Geometry.beat_bytes*8-1:0] read_data_i,
  /// The write announced two clocks ago, and its data.
  output      pim_pkg::access_t               write_o,
  output logic      [Geometry.beat_bytes*8-1:0] write_data_o
);

  localparam int unsigned AtomBytes = Geometry.atom_bytes;
  localparam int unsigned BeatBytes = Geometry.beat_bytes;
  localparam int unsigned PageBytes =
      Geometry.all_bank ? Geometry.banks * Geometry.row_bytes : Geometry.row_bytes;
  localparam int unsigned LanePasses = (BeatBytes / 2 + Geometry.lanes - 1) / Geometry.lanes;
  localparam int unsigned LaneSets = (Geometry.lanes + BeatBytes / 2 - 1) / (BeatBytes / 2);
  localparam int unsigned GroupBits = $clog2(Geometry.acc_groups);
  localparam int unsigned IndexBits = $clog2(Geometry.scalar_depth);
  localparam int unsigned SliceBits = $clog2(AtomBytes / 2 + 1);

  logic copy_stream_valid, seq_stream_valid, stream_valid, stream_ready, memory_idle, quiet;
  pim_pkg::stream_t copy_stream, seq_stream, stream;
  logic atom_valid, atom_pop;
  logic [AtomBytes*8-1:0] atom_out, atom_in;

  logic zero_init, splat, splat_zero, splat_negate, block_open, block_room;
  pim_pkg::lane_op_e ew_op;
  logic [1:0] ew_scalar, weights;
  logic [2:0] splat_row, block_row;
  logic [IndexBits-1:0] scalar_index, block_base;
  logic [GroupBits-1:0] splat_group, block_group;
  logic [$clog2(BeatBytes/2+1)-1:0] block_atoms;
  logic [SliceBits-1:0] block_slices;

  pim_copy #(
    .AtomBytes(AtomBytes)
  ) u_copy (
    .clk_i(clk_host_i),
    .rst_ni,
    .start_i(work_i.copy_start),
    .desc_i,
    .done_o(done_o.copy_done),
    .code_o(done_o.copy_code),
    .rd_start_o(dma_o.rd_start),
    .wr_start_o(dma_o.wr_start),
    .job_o(dma_job_o),
    .rd_busy_i(dma_i.rd_busy),
    .rd_error_i(dma_i.rd_error),
    .rd_room_o(dma_o.rd_room),
    .rd_burst_i(dma_i.rd_burst),
    .rd_burst_beats_i(dma_i.rd_burst_beats),
    .rd_valid_i(dma_i.rd_valid),
    .rd_data_i,
    .wr_busy_i(dma_i.wr_busy),
    .wr_error_i(dma_i.wr_error),
    .wr_valid_o(dma_o.wr_valid),
    .wr_ready_i(dma_i.wr_ready && work_i.copy_active),
    .wr_data_o,
    .stream_valid_o(copy_stream_valid),
    .stream_ready_i(stream_ready),
    .stream_o(copy_stream),
    .flush_o(state_o.flush),
    .memory_idle_i(memory_idle),
    .issue_i(channel_i.copy_issue),
    .out_room_o(state_o.copy_out_room),
    .in_ready_o(state_o.copy_in_ready),
    .atom_valid_i(atom_valid),
    .atom_i(atom_out),
    .atom_pop_i(atom_pop),
    .atom_o(atom_in)
  );

  pim_seq #(
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .AccGroups(Geometry.acc_groups),
    .ScalarDepth(Geometry.scalar_depth),
    .LaneLatency(Geometry.lane_latency),
    .RowsPerBeat(Geometry.rows_per_beat),
    .VectorSetup(Geometry.vector_setup),
    .TransposeWays(Geometry.transpose_ways)
  ) u_seq (
    .clk_i,
    .rst_ni,
    .start_i(work_i.seq_start),
    .desc_i,
    .done_o(done_o.seq_done),
    .stream_valid_o(seq_stream_valid),
    .stream_ready_i(stream_ready),
    .stream_o(seq_stream),
    .quiet_i(quiet),
    .zero_init_o(zero_init),
    .weights_o(weights),
    .ew_op_o(ew_op),
    .ew_scalar_o(ew_scalar),
    .scalar_index_o(scalar_index),
    .splat_o(splat),
    .splat_zero_o(splat_zero),
    .splat_negate_o(splat_negate),
    .splat_row_o(splat_row),
    .splat_group_o(splat_group),
    .block_open_o(block_open),
    .block_row_o(block_row),
    .block_group_o(block_group),
    .block_atoms_o(block_atoms),
    .block_base_o(block_base),
    .block_slices_o(block_slices),
    .block_room_i(block_room)
  );

  assign stream_valid = work_i.copy_active ? copy_stream_valid : seq_stream_valid;
  assign stream = work_i.copy_active ? copy_stream : seq_stream;
  assign memory_idle = !state_o.span_valid && channel_i.idle;
  assign quiet = memory_idle && !state_o.lanes_busy;

  pim_spans #(
    .PageBytes(PageBytes),
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes)
  ) u_spans (
    .clk_i,
    .rst_ni,
    .flush_i(state_o.flush),
    .valid_i(stream_valid),
    .ready_o(stream_ready),
    .stream_i(stream),
    .valid_o(state_o.span_valid),
    .ready_i(channel_i.span_ready),
    .span_o
  );

  // ---- lanes ----------------------------------------------------------------------------
  pim_lane_ctl #(
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .AccGroups(Geometry.acc_groups),
    .ScalarDepth(Geometry.scalar_depth),
    .LaneLatency(Geometry.lane_latency),
    .LanePasses(LanePasses),
    .RowsPerBeat(Geometry.rows_per_beat),
    .LaneSets(LaneSets),
    .TransposeWays(Geometry.transpose_ways),
    .NativeLanes(Geometry.native_lanes),
    .ControlOnly(Geometry.control_only)
  ) u_lane_ctl (
    .clk_i,
    .rst_ni,
    .flush_i(state_o.flush),
    .read_i,
    .write_i,
    .read_data_i,
    .write_o,
    .write_data_o,
    .busy_o(state_o.lanes_busy),
    .zero_init_i(zero_init),
    .weights_i(weights),
    .ew_op_i(ew_op),
    .ew_scalar_i(ew_scalar),
    .scalar_index_i(scalar_index),
    .splat_i(splat),
    .splat_zero_i(splat_zero),
    .splat_negate_i(splat_negate),
    .splat_row_i(splat_row),
    .splat_group_i(splat_group),
    .block_open_i(block_open),
    .block_row_i(block_row),
    .block_group_i(block_group),
    .block_atoms_i(block_atoms),
    .block_base_i(block_base),
    .block_slices_i(block_slices),
    .block_room_o(block_room),
    .copy_out_valid_o(atom_valid),
    .copy_out_data_o(atom_out),
    .copy_in_data_i(atom_in),
    .copy_in_pop_o(atom_pop),
    .mac_o(state_o.mac)
  );

endmodule

`default_nettype wire
