`default_nettype none

/// What the lanes do with every read beat: the read side of pim_lane_ctl.
///
/// A read beat becomes a lane operation, an entry of the scalar buffer, a row of the transpose
/// buffer or an atom for the host, one clock after its data time. Reads of one kind arrive in
/// the order of the descriptor's loops, so counters (pim_lane_steps) tell which accumulators and
/// which scalar each belongs to.
module pim_lane_feed #(
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
  /// 1: buffers for fast simulation, as the lanes are.
  parameter bit NativeLanes = 1'b0
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

  /// Static for a descriptor: KindMac starts its sum from +0; its right operand has integers.
  input  wire logic              zero_init_i,
  input  wire logic              integers_i,
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

  /// An operation of the lanes in this clock: its last or only row, accumulators, lanes that take
  /// part, scalars; the vector is the read data, or a slice where `lane_slice_o`.
  output logic                   lane_valid_o,
  output      pim_pkg::lane_op_e lane_op_o,
  output logic [2:0]             lane_row_o,
  output logic [$clog2(AccGroups)-1:0] lane_group_o,
  output logic [BeatBytes/AtomBytes-1:0] lane_mask_o,
  output logic [RowsPerBeat-1:0][15:0] lane_scalars_o,
  output logic                   lane_slice_o,
  output logic [BeatBytes*8-1:0] lane_slice_data_o,
  /// The next operation scales sums, these, in accumulators of that beat of results; a part of them.
  output logic                   scale_o,
  output logic [$clog2(AccGroups)-1:0] scale_group_o,
  output logic [1:0]             scale_part_o
);

  localparam int unsigned AtomElems = AtomBytes / 2;
  localparam int unsigned Parts = BeatBytes / AtomBytes;
  localparam int unsigned GroupBits = $clog2(AccGroups);
  localparam int unsigned PartBits = $clog2(Parts + 1);
  // Atoms of scalars that come at once.
  localparam int unsigned ScalarParts = ScalarDepth > BeatBytes / 2 ? Parts : 1;
  localparam int unsigned IndexBits = $clog2(ScalarDepth);
  localparam int unsigned MostPasses = RowsPerBeat / LaneSets * LanePasses;
  localparam int unsigned SettleBits = $clog2(LaneLatency + MostPasses + 1);
  localparam int unsigned PassBits = $clog2(MostPasses + 1);
  localparam logic [15:0] PlusOne = 16'h3F80;
  localparam logic [15:0] MinusOne = 16'hBF80;

  // ---- what the beat of this clock is ---------------------------------------------------
  logic [GroupBits-1:0] group;
  logic [$clog2(ScalarDepth/AtomElems)-1:0] atom;
  logic half, first;

  logic scalar_write_q, scalar_all_q, block_write_q, block_all_q, copy_out_q;
  logic [2:0] scalar_row_q;
  logic [$clog2(ScalarDepth/AtomElems)-1:0] scalar_write_index_q;

  logic slice_valid, slice_next, trans_idle;
  logic [BeatBytes*8-1:0] slice;
  logic [3+GroupBits+PartBits-1:0] slice_tag;
  logic [2:0] slice_row;
  logic [IndexBits-1:0] slice_index;

  logic [IndexBits-1:0] inner, scalar_index;
  logic [RowsPerBeat-1:0][15:0] scalars;
  logic [15:0] splat, ew_scalar;

  logic [SettleBits-1:0] settle_q;

  pim_lane_steps #(
    .AtomElems(AtomElems), .AccGroups(AccGroups), .ScalarDepth(ScalarDepth),
    .ScalarParts(ScalarParts)
  ) u_steps (
    .clk_i, .rst_ni, .flush_i, .read_i, .group_o(group), .first_o(first), .half_o(half),
    .part_o(scale_part_o), .atom_o(atom), .inner_o(inner)
  );

  assign scale_o = read_i.valid && read_i.kind == pim_pkg::KindScale;
  assign scale_group_o = group;

  // The scalar of the next clock. Products count on their own from 0, the rest is told: one of
  // the two is 0.
  assign scalar_index = slice_next ? slice_index : inner | scalar_index_i;

  for (genvar row = 0; row < RowsPerBeat; row++) begin : gen_row
    localparam logic [2:0] Row = 3'(row);
    logic write;
    assign write = scalar_write_q && scalar_row_q == Row;
    if (NativeLanes) begin : gen_native
      pim_scalar_buf_sim #(
        .Depth(ScalarDepth), .AtomElems(AtomElems), .Parts(ScalarParts)
      ) u_scalars (
        .clk_i, .write_i(write), .write_all_i(scalar_all_q), .write_index_i(scalar_write_index_q),
        .write_data_i(read_data_i[ScalarParts*AtomElems*16-1:0]), .read_index_i(scalar_index),
        .read_data_o(scalars[row])
      );
    end else begin : gen_rtl
      pim_scalar_buf #(
        .Depth(ScalarDepth), .AtomElems(AtomElems), .Parts(ScalarParts)
      ) u_scalars (
        .clk_i, .write_i(write), .write_all_i(scalar_all_q), .write_index_i(scalar_write_index_q),
        .write_data_i(read_data_i[ScalarParts*AtomElems*16-1:0]), .read_index_i(scalar_index),
        .read_data_o(scalars[row])
      );
    end
  end

  // Fabric clocks in which the lanes work on a beat for the rows up to one.
  function automatic int unsigned passes(logic [2:0] row);
    return (32'(row) / LaneSets + 1) * LanePasses;
  endfunction

  // Lanes beyond the columns of a slice keep what they have.
  function automatic logic [Parts-1:0] first_parts(logic [PartBits-1:0] count);
    for (int unsigned part = 0; part < Parts; part++) first_parts[part] = PartBits'(part) < count;
  endfunction

  assign splat = splat_zero_i ? '0 : {scalars[0][15] ^ splat_negate_i, scalars[0][14:0]};
  assign ew_scalar = ew_scalar_i[1] ? scalars[0] : ew_scalar_i[0] ? MinusOne : PlusOne;
  assign slice_row = slice_tag[GroupBits+PartBits+:3];

  // Atoms of AtomElems columns each.
  logic [PartBits-1:0] block_parts;
  assign block_parts = PartBits'(block_atoms_i / ($bits(block_atoms_i))'(AtomElems));

  // The transpose buffer is idle but in MATMUL_T: its clock stops.
  logic clk_transpose;

  pim_clock_gate u_transpose_gate (
    .clk_i,
    .en_i(!rst_ni || flush_i || block_open_i || block_write_q || slice_valid || !trans_idle),
    .clk_o(clk_transpose)
  );

  pim_transpose #(
    .Size(AtomElems),
    .Copies(Parts),
    .Ways(TransposeWays),
    .TagBits(3 + GroupBits + PartBits),
    .Spacing(LaneLatency),
    .Passes(MostPasses),
    .IndexBits(IndexBits),
    .Native(NativeLanes)
  ) u_transpose (
    .clk_i(clk_transpose),
    .rst_ni,
    .flush_i,
    .open_i(block_open_i),
    .tag_i({block_row_i, block_parts, block_group_i}),
    .passes_i(PassBits'(passes(block_row_i))),
    .base_i(block_base_i),
    .slices_i(block_slices_i),
    .atoms_i(block_atoms_i),
    .room_o(block_room_o),
    .valid_i(block_write_q),
    .all_i(block_all_q),
    .data_i(read_data_i),
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
      scalar_write_q <= 1'b0;
      scalar_all_q <= 1'b0;
      scalar_write_index_q <= '0;
      scalar_row_q <= '0;
      block_write_q <= 1'b0;
      block_all_q <= 1'b0;
      copy_out_q <= 1'b0;
      lane_valid_o <= 1'b0;
      lane_slice_o <= 1'b0;
      lane_op_o <= pim_pkg::LaneMac;
      lane_group_o <= '0;
      lane_mask_o <= '1;
      lane_row_o <= '0;
      lane_scalars_o <= '0;
      settle_q <= '0;
    end else begin
      scalar_write_q <= 1'b0;
      block_write_q <= 1'b0;
      copy_out_q <= 1'b0;
      lane_valid_o <= 1'b0;
      lane_slice_o <= 1'b0;
      lane_mask_o <= '1;
      if (settle_q != '0) settle_q <= settle_q - 1'b1;
      if (read_i.valid || splat_i || slice_valid) begin
        settle_q <= SettleBits'(LaneLatency + passes(
            slice_valid ? slice_row
            : read_i.valid && read_i.kind inside {pim_pkg::KindMac, pim_pkg::KindScale}
            ? read_i.row : '0));
      end
      if (splat_i) begin
        lane_valid_o <= 1'b1;
        lane_op_o <= pim_pkg::LaneSplat;
        lane_row_o <= splat_row_i;
        lane_group_o <= splat_group_i;
        lane_scalars_o <= (16*RowsPerBeat)'(splat);
      end else if (slice_valid) begin
        lane_valid_o <= 1'b1;
        lane_slice_o <= 1'b1;
        lane_op_o <= pim_pkg::LaneMac;
        lane_row_o <= slice_row;
        lane_group_o <= slice_tag[GroupBits-1:0];
        lane_mask_o <= first_parts(slice_tag[GroupBits+:PartBits]);
        lane_scalars_o <= scalars;
      end
      if (read_i.valid) begin
        if (read_i.kind inside {pim_pkg::KindLoad, pim_pkg::KindLoadF32, pim_pkg::KindMac,
                                pim_pkg::KindEw, pim_pkg::KindScale}) begin
          lane_valid_o <= 1'b1;
          lane_row_o <= read_i.row;
          lane_group_o <= group;
        end
        unique case (read_i.kind)
          pim_pkg::KindScalar: begin
            scalar_write_q <= 1'b1;
            scalar_row_q <= read_i.row;
            scalar_all_q <= ScalarParts > 1 && read_i.all;
            scalar_write_index_q <= atom;
          end
          pim_pkg::KindLoad: lane_op_o <= pim_pkg::LaneLoad;
          pim_pkg::KindLoadF32: begin
            lane_op_o <= pim_pkg::LaneLoadF32;
            lane_scalars_o <= (16*RowsPerBeat)'(half);
          end
          pim_pkg::KindMac: begin
            if (zero_init_i && first) lane_op_o <= integers_i ? pim_pkg::LaneMaczI : pim_pkg::LaneMacz;
            else lane_op_o <= integers_i ? pim_pkg::LaneMacI : pim_pkg::LaneMac;
            lane_scalars_o <= scalars;
          end
          pim_pkg::KindScale: lane_op_o <= pim_pkg::LaneScale;
          pim_pkg::KindEw: begin
            lane_op_o <= ew_op_i;
            lane_scalars_o <= (16*RowsPerBeat)'(ew_scalar);
          end
          pim_pkg::KindBlock: begin
            block_write_q <= 1'b1;
            block_all_q <= Parts > 1 && read_i.all;
          end
          default: copy_out_q <= 1'b1;
        endcase
      end
    end
  end

  // Wide data registers only move under their enable.
  always_ff @(posedge clk_i) begin
    if (slice_valid) lane_slice_data_o <= slice;
  end

  assign busy_o = settle_q != '0 || !trans_idle;

endmodule

`default_nettype wire
