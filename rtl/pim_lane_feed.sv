`default_nettype none

/// What the lanes do with every read beat: the read side of pim_lane_ctl.
///
/// A read beat becomes a lane operation, an entry of the scalar buffer, a row of the transpose
/// buffer or an atom for the host, one clock after its data time. Reads of one kind arrive in
/// the order of the descriptor's loops, so counters here tell which accumulators and which
/// scalar each belongs to; the last access of a stream sets them back.
module pim_lane_feed #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096,
  parameter int unsigned LaneLatency = 4,
  /// Fabric clocks the lanes need for a beat.
  parameter int unsigned LanePasses = 1
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  input  wire logic              flush_i,
  /// Data time of a read.
  input  wire pim_pkg::access_t  read_i,
  /// Data of the read announced one clock ago.
  input  wire logic [BeatBytes*8-1:0] read_data_i,
  /// Something is still on its way to or through the lanes.
  output logic                   busy_o,

  /// Static for a descriptor: KindMac starts its sum from +0.
  input  wire logic              zero_init_i,
  /// Static for a stream: operation and scalar of KindEw (0: +1, 1: -1, 2: scalar buffer).
  input  wire pim_pkg::lane_op_e ew_op_i,
  input  wire logic [1:0]        ew_scalar_i,
  /// Entry of the scalar buffer that KindEw and splat use, from a clock before the first of them on;
  /// 0 while a product runs.
  input  wire logic [$clog2(ScalarDepth)-1:0] scalar_index_i,
  /// Fill one group of accumulators with that entry (or +0, or its negative).
  input  wire logic              splat_i,
  input  wire logic              splat_zero_i,
  input  wire logic              splat_negate_i,
  input  wire logic [$clog2(AccGroups)-1:0] splat_group_i,

  /// Announce a block to the transpose buffer.
  input  wire logic              block_open_i,
  input  wire logic [$clog2(AccGroups)-1:0] block_group_i,
  input  wire logic [$clog2(BeatBytes/AtomBytes+1)-1:0] block_part_i,
  input  wire logic [$clog2(ScalarDepth)-1:0] block_base_i,
  input  wire logic [$clog2(AtomBytes/2+1)-1:0] block_slices_i,
  output logic                   block_room_o,

  /// Atom for the host.
  output logic                   copy_out_valid_o,
  output logic      [AtomBytes*8-1:0] copy_out_data_o,

  /// An operation of the lanes in this clock: accumulators, lanes that take part, operands.
  output logic                   lane_valid_o,
  output      pim_pkg::lane_op_e lane_op_o,
  output logic [$clog2(AccGroups)-1:0] lane_group_o,
  output logic [BeatBytes/AtomBytes-1:0] lane_mask_o,
  output logic [15:0]            lane_scalar_o,
  output logic [BeatBytes*8-1:0] lane_vector_o
);

  localparam int unsigned AtomElems = AtomBytes / 2;
  localparam int unsigned Parts = BeatBytes / AtomBytes;
  localparam int unsigned GroupBits = $clog2(AccGroups);
  localparam int unsigned PartBits = $clog2(Parts + 1);
  localparam int unsigned IndexBits = $clog2(ScalarDepth);
  localparam int unsigned SettleClocks = LaneLatency + LanePasses;
  localparam int unsigned SettleBits = $clog2(SettleClocks + 1);
  localparam logic [15:0] PlusOne = 16'h3F80;
  localparam logic [15:0] MinusOne = 16'hBF80;

  // ---- what the beat of this clock is ---------------------------------------------------
  logic [GroupBits-1:0] group_q;
  logic [IndexBits-1:0] inner_q;
  logic [$clog2(ScalarDepth/AtomElems)-1:0] atom_q;
  logic half_q;

  logic scalar_write_q, block_write_q, copy_out_q;
  logic [$clog2(ScalarDepth/AtomElems)-1:0] scalar_write_index_q;

  logic slice_valid, slice_next, trans_idle;
  logic [AtomElems*16-1:0] slice;
  logic [GroupBits+PartBits-1:0] slice_tag;
  logic [IndexBits-1:0] slice_index;

  logic [IndexBits-1:0] inner_d, scalar_index;
  logic [15:0] scalar;

  logic lane_slice_q;
  logic [PartBits-1:0] lane_part_q;
  logic [AtomElems*16-1:0] lane_slice_data_q;
  logic [SettleBits-1:0] settle_q;

  always_comb begin
    inner_d = inner_q;
    if (read_i.valid && read_i.kind == pim_pkg::KindMac) begin
      if (read_i.last) inner_d = '0;
      else if (read_i.step_end) inner_d = inner_q + 1'b1;
    end
  end

  // The scalar of the next clock. Products count on their own from 0, the rest is told: one of
  // the two is 0.
  assign scalar_index = slice_next ? slice_index : inner_d | scalar_index_i;

  pim_scalar_buf #(
    .Depth(ScalarDepth),
    .AtomElems(AtomElems)
  ) u_scalars (
    .clk_i,
    .write_i(scalar_write_q),
    .write_index_i(scalar_write_index_q),
    .write_data_i(read_data_i[AtomElems*16-1:0]),
    .read_index_i(scalar_index),
    .read_data_o(scalar)
  );

  // The transpose buffer is idle but in MATMUL_T: its clock stops.
  logic clk_transpose;

  pim_clock_gate u_transpose_gate (
    .clk_i,
    .en_i(!rst_ni || flush_i || block_open_i || block_write_q || slice_valid || !trans_idle),
    .clk_o(clk_transpose)
  );

  pim_transpose #(
    .Size(AtomElems),
    .TagBits(GroupBits + PartBits),
    .Spacing(LanePasses > LaneLatency ? LanePasses : LaneLatency),
    .IndexBits(IndexBits)
  ) u_transpose (
    .clk_i(clk_transpose),
    .rst_ni,
    .flush_i,
    .open_i(block_open_i),
    .tag_i({block_part_i, block_group_i}),
    .base_i(block_base_i),
    .slices_i(block_slices_i),
    .room_o(block_room_o),
    .valid_i(block_write_q),
    .data_i(read_data_i[AtomElems*16-1:0]),
    .valid_o(slice_valid),
    .data_o(slice),
    .tag_o(slice_tag),
    .next_o(slice_next),
    .index_o(slice_index),
    .idle_o(trans_idle)
  );

  assign copy_out_valid_o = copy_out_q;
  assign copy_out_data_o = read_data_i[AtomBytes*8-1:0];

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      group_q <= '0;
      inner_q <= '0;
      atom_q <= '0;
      half_q <= 1'b0;
      scalar_write_q <= 1'b0;
      scalar_write_index_q <= '0;
      block_write_q <= 1'b0;
      copy_out_q <= 1'b0;
      lane_valid_o <= 1'b0;
      lane_slice_q <= 1'b0;
      lane_op_o <= pim_pkg::LaneMac;
      lane_group_o <= '0;
      lane_part_q <= '0;
      lane_scalar_o <= '0;
      settle_q <= '0;
    end else begin
      scalar_write_q <= 1'b0;
      block_write_q <= 1'b0;
      copy_out_q <= 1'b0;
      lane_valid_o <= 1'b0;
      lane_slice_q <= 1'b0;
      inner_q <= inner_d;
      if (settle_q != '0) settle_q <= settle_q - 1'b1;
      if (read_i.valid || splat_i || slice_valid) settle_q <= SettleBits'(SettleClocks);
      if (splat_i) begin
        lane_valid_o <= 1'b1;
        lane_op_o <= pim_pkg::LaneSplat;
        lane_group_o <= splat_group_i;
        lane_scalar_o <= splat_zero_i ? '0 : {scalar[15] ^ splat_negate_i, scalar[14:0]};
      end else if (slice_valid) begin
        lane_valid_o <= 1'b1;
        lane_slice_q <= 1'b1;
        lane_op_o <= pim_pkg::LaneMac;
        lane_group_o <= slice_tag[GroupBits-1:0];
        lane_part_q <= slice_tag[GroupBits+:PartBits];
        lane_scalar_o <= scalar;
      end
      if (read_i.valid) begin
        unique case (read_i.kind)
          pim_pkg::KindScalar: begin
            scalar_write_q <= 1'b1;
            scalar_write_index_q <= atom_q;
            atom_q <= read_i.last ? '0 : atom_q + 1'b1;
          end
          pim_pkg::KindLoad: begin
            lane_valid_o <= 1'b1;
            lane_op_o <= pim_pkg::LaneLoad;
            lane_group_o <= group_q;
            group_q <= read_i.last ? '0 : group_q + 1'b1;
          end
          pim_pkg::KindLoadF32: begin
            lane_valid_o <= 1'b1;
            lane_op_o <= pim_pkg::LaneLoadF32;
            lane_group_o <= group_q;
            lane_scalar_o <= {15'd0, half_q};
            half_q <= !half_q;
            if (half_q) group_q <= read_i.last ? '0 : group_q + 1'b1;
          end
          pim_pkg::KindMac: begin
            lane_valid_o <= 1'b1;
            lane_op_o <= zero_init_i && inner_q == '0 ? pim_pkg::LaneMacz : pim_pkg::LaneMac;
            lane_group_o <= group_q;
            lane_scalar_o <= scalar;
            group_q <= read_i.step_end ? '0 : group_q + 1'b1;
          end
          pim_pkg::KindEw: begin
            lane_valid_o <= 1'b1;
            lane_op_o <= ew_op_i;
            lane_group_o <= group_q;
            lane_scalar_o <= ew_scalar_i[1] ? scalar : ew_scalar_i[0] ? MinusOne : PlusOne;
            group_q <= read_i.last ? '0 : group_q + 1'b1;
          end
          pim_pkg::KindBlock: block_write_q <= 1'b1;
          default: copy_out_q <= 1'b1;
        endcase
      end
    end
  end

  // Wide data registers only move under their enable.
  always_ff @(posedge clk_i) begin
    if (slice_valid) lane_slice_data_q <= slice;
  end

  assign lane_vector_o = lane_slice_q ? {Parts{lane_slice_data_q}} : read_data_i;
  assign lane_mask_o = lane_slice_q ? Parts'(1) << lane_part_q : '1;
  assign busy_o = settle_q != '0 || !trans_idle;

endmodule

`default_nettype wire
