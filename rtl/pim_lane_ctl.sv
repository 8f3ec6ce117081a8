`default_nettype none

/// Between the DRAM array and the lanes: hands every read beat to its consumer and collects
/// the data of every write.
///
/// A read beat becomes a lane operation, an entry of the scalar buffer, a row of the transpose
/// buffer or an atom for the host, one clock after its data time. Reads of one kind arrive in
/// the order of the descriptor's loops, so counters here tell which accumulators and which
/// scalar each belongs to; the last access of a stream sets them back.
module pim_lane_ctl #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096,
  parameter int unsigned LaneLatency = 4,
  /// Fabric clocks the lanes need for a beat.
  parameter int unsigned LanePasses = 1,
  /// 1: the lanes are DPI code.
  parameter bit NativeLanes = 1'b0
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
  /// Atom from the host; `copy_in_pop_o` takes it.
  input  wire logic [AtomBytes*8-1:0] copy_in_data_i,
  output logic                   copy_in_pop_o,

  /// The lanes multiply and add in this clock.
  output logic                   mac_o
);

  localparam int unsigned AtomElems = AtomBytes / 2;
  localparam int unsigned BeatElems = BeatBytes / 2;
  localparam int unsigned Parts = BeatBytes / AtomBytes;
  localparam int unsigned GroupBits = $clog2(AccGroups);
  localparam int unsigned PartBits = $clog2(Parts + 1);
  localparam int unsigned IndexBits = $clog2(ScalarDepth);
  localparam int unsigned SettleClocks = LaneLatency + LanePasses;
  localparam int unsigned SettleBits = $clog2(SettleClocks + 1);
  localparam logic [15:0] PlusOne = 16'h3F80;
  localparam logic [15:0] MinusOne = 16'hBF80;

  if (AccGroups < 2 || (AccGroups & (AccGroups - 1)) != 0) begin : gen_check
    $error("%m: AccGroups must be a power of two, at least 2");
  end

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

  logic lane_valid_q, lane_slice_q;
  pim_pkg::lane_op_e lane_op_q;
  logic [GroupBits-1:0] lane_group_q;
  logic [PartBits-1:0] lane_part_q;
  logic [15:0] lane_scalar_q;
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
      lane_valid_q <= 1'b0;
      lane_slice_q <= 1'b0;
      lane_op_q <= pim_pkg::LaneMac;
      lane_group_q <= '0;
      lane_part_q <= '0;
      lane_scalar_q <= '0;
      settle_q <= '0;
    end else begin
      scalar_write_q <= 1'b0;
      block_write_q <= 1'b0;
      copy_out_q <= 1'b0;
      lane_valid_q <= 1'b0;
      lane_slice_q <= 1'b0;
      inner_q <= inner_d;
      if (settle_q != '0) settle_q <= settle_q - 1'b1;
      if (read_i.valid || splat_i || slice_valid) settle_q <= SettleBits'(SettleClocks);
      if (splat_i) begin
        lane_valid_q <= 1'b1;
        lane_op_q <= pim_pkg::LaneSplat;
        lane_group_q <= splat_group_i;
        lane_scalar_q <= splat_zero_i ? '0 : {scalar[15] ^ splat_negate_i, scalar[14:0]};
      end else if (slice_valid) begin
        lane_valid_q <= 1'b1;
        lane_slice_q <= 1'b1;
        lane_op_q <= pim_pkg::LaneMac;
        lane_group_q <= slice_tag[GroupBits-1:0];
        lane_part_q <= slice_tag[GroupBits+:PartBits];
        lane_scalar_q <= scalar;
      end
      if (read_i.valid) begin
        unique case (read_i.kind)
          pim_pkg::KindScalar: begin
            scalar_write_q <= 1'b1;
            scalar_write_index_q <= atom_q;
            atom_q <= read_i.last ? '0 : atom_q + 1'b1;
          end
          pim_pkg::KindLoad: begin
            lane_valid_q <= 1'b1;
            lane_op_q <= pim_pkg::LaneLoad;
            lane_group_q <= group_q;
            group_q <= read_i.last ? '0 : group_q + 1'b1;
          end
          pim_pkg::KindLoadF32: begin
            lane_valid_q <= 1'b1;
            lane_op_q <= pim_pkg::LaneLoadF32;
            lane_group_q <= group_q;
            lane_scalar_q <= {15'd0, half_q};
            half_q <= !half_q;
            if (half_q) group_q <= read_i.last ? '0 : group_q + 1'b1;
          end
          pim_pkg::KindMac: begin
            lane_valid_q <= 1'b1;
            lane_op_q <= zero_init_i && inner_q == '0 ? pim_pkg::LaneMacz : pim_pkg::LaneMac;
            lane_group_q <= group_q;
            lane_scalar_q <= scalar;
            group_q <= read_i.step_end ? '0 : group_q + 1'b1;
          end
          pim_pkg::KindEw: begin
            lane_valid_q <= 1'b1;
            lane_op_q <= ew_op_i;
            lane_group_q <= group_q;
            lane_scalar_q <= ew_scalar_i[1] ? scalar : ew_scalar_i[0] ? MinusOne : PlusOne;
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

  // ---- lanes ----------------------------------------------------------------------------
  logic [BeatBytes*8-1:0] vector;
  logic [Parts-1:0] mask;
  logic acc_read;
  logic [GroupBits-1:0] acc_group;
  logic [BeatElems*16-1:0] acc_bf16;
  logic [BeatElems*32-1:0] acc_f32;

  assign vector = lane_slice_q ? {Parts{lane_slice_data_q}} : read_data_i;
  assign mask = lane_slice_q ? Parts'(1) << lane_part_q : '1;
  assign mac_o = lane_valid_q && !(lane_op_q inside {pim_pkg::LaneLoad, pim_pkg::LaneLoadF32,
                                                     pim_pkg::LaneSplat});
  assign busy_o = settle_q != '0 || !trans_idle;

  if (NativeLanes) begin : gen_native
    pim_lanes_native_sim #(
      .Lanes(BeatElems),
      .Groups(AccGroups),
      .Parts(Parts)
    ) u_lanes (
      .clk_i,
      .valid_i(lane_valid_q),
      .op_i(lane_op_q),
      .group_i(lane_group_q),
      .mask_i(mask),
      .scalar_i(lane_scalar_q),
      .vector_i(vector),
      .read_i(acc_read),
      .read_group_i(acc_group),
      .read_bf16_o(acc_bf16),
      .read_f32_o(acc_f32)
    );
  end else begin : gen_rtl
    pim_lanes #(
      .Lanes(BeatElems),
      .Groups(AccGroups),
      .Parts(Parts),
      .Latency(LaneLatency)
    ) u_lanes (
      .clk_i,
      .valid_i(lane_valid_q),
      .op_i(lane_op_q),
      .group_i(lane_group_q),
      .mask_i(mask),
      .scalar_i(lane_scalar_q),
      .vector_i(vector),
      .read_i(acc_read),
      .read_group_i(acc_group),
      .read_bf16_o(acc_bf16),
      .read_f32_o(acc_f32)
    );
  end

  // ---- write data -----------------------------------------------------------------------
  logic [GroupBits-1:0] out_group_q;
  logic out_half_q;
  pim_pkg::access_t write_q;
  logic write_half_q;
  logic [AtomBytes*8-1:0] copy_in_q;

  assign acc_read = write_i.valid && write_i.kind != pim_pkg::KindCopyIn;
  assign acc_group = out_group_q;
  assign copy_in_pop_o = write_i.valid && write_i.kind == pim_pkg::KindCopyIn;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      out_group_q <= '0;
      out_half_q <= 1'b0;
    end else if (write_i.valid && write_i.kind == pim_pkg::KindBf16) begin
      out_group_q <= write_i.last ? '0 : out_group_q + 1'b1;
    end else if (write_i.valid && write_i.kind == pim_pkg::KindF32) begin
      out_half_q <= !out_half_q;
      if (out_half_q) out_group_q <= write_i.last ? '0 : out_group_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      write_o <= '0;
      write_half_q <= 1'b0;
    end else begin
      write_q <= write_i;
      write_half_q <= out_half_q;
      write_o <= write_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (copy_in_pop_o) copy_in_q <= copy_in_data_i;
  end

  // A memory of one entry: a simulator copies it when it is written, a plain register this wide in
  // every clock.
  logic [BeatBytes*8-1:0] write_data_q [1];
  assign write_data_o = write_data_q[0];

  always_ff @(posedge clk_i) begin
    if (write_q.valid) begin
      unique case (write_q.kind)
        pim_pkg::KindBf16: write_data_q[0] <= acc_bf16;
        pim_pkg::KindF32: begin
          write_data_q[0] <= write_half_q ? acc_f32[BeatElems*16+:BeatElems*16]
                                          : acc_f32[BeatElems*16-1:0];
        end
        default: write_data_q[0][AtomBytes*8-1:0] <= copy_in_q;
      endcase
    end
  end

endmodule

`default_nettype wire
