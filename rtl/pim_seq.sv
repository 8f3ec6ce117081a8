`default_nettype none

/// Compute sequencer: turns a MATMUL, MATMUL_T or vector descriptor (element-wise, unary) into
/// streams of accesses and the settings that tell the lanes what to do with them.
///
/// For every row of the result and every tile of it (at most AccGroups beats): fill the
/// accumulators, stream the operands through the lanes, write the result. A product takes up to
/// RowsPerBeat rows at once: all but the stream of the right operand is done row by row. Streams are
/// queued ahead of the data they need; `hold` on a stream makes the scheduler wait for the lanes.
module pim_seq #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096,
  parameter int unsigned LaneLatency = 4,
  /// Rows of the left operand that a beat of the right one is multiplied by; at most 8.
  parameter int unsigned RowsPerBeat = 1,
  /// Fabric clocks to set up one vector instruction (at most AccGroups beats).
  parameter int unsigned VectorSetup = 0,
  /// Blocks of a transposed operand that leave at the same time.
  parameter int unsigned TransposeWays = 1
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  /// Start `desc_i`, which has been checked and stays until `done_o`.
  input  wire logic                     start_i,
  input  wire pim_isa_pkg::descriptor_t desc_i,
  output logic                          done_o,

  output logic                          stream_valid_o,
  input  wire logic                     stream_ready_i,
  output      pim_pkg::stream_t         stream_o,
  /// No access waits or is under way, and the lanes are idle.
  input  wire logic                     quiet_i,

  /// Static for a descriptor: sums start from +0; weights of the right operand.
  output logic                          zero_init_o,
  output logic      [1:0]               weights_o,
  output      pim_pkg::lane_op_e        ew_op_o,
  output logic      [1:0]               ew_scalar_o,
  output logic      [$clog2(ScalarDepth)-1:0] scalar_index_o,
  output logic                          splat_o,
  output logic                          splat_zero_o,
  output logic                          splat_negate_o,
  output logic      [2:0]               splat_row_o,
  output logic      [$clog2(AccGroups)-1:0] splat_group_o,
  output logic                          block_open_o,
  output logic      [2:0]               block_row_o,
  output logic      [$clog2(AccGroups)-1:0] block_group_o,
  output logic      [$clog2(BeatBytes/2+1)-1:0] block_atoms_o,
  output logic      [$clog2(ScalarDepth)-1:0] block_base_o,
  output logic      [$clog2(AtomBytes/2+1)-1:0] block_slices_o,
  input  wire logic                     block_room_i
);

  localparam int unsigned BeatElems = BeatBytes / 2;
  localparam int unsigned GroupBits = $clog2(AccGroups);
  localparam int unsigned IndexBits = $clog2(ScalarDepth);
  localparam logic AllBank = BeatBytes != AtomBytes;
  localparam int unsigned SetupBits = VectorSetup > 1 ? $clog2(VectorSetup + 1) : 1;

  pim_pkg::seq_state_e state_q;
  pim_isa_pkg::opcode_e opcode;
  pim_isa_pkg::broadcast_e broadcast;
  pim_isa_pkg::init_e init;
  pim_pkg::seq_state_e after_tile, after_setup;
  logic is_vector, is_unary, is_t, integers, from_scalars, from_column;

  // While a stream waits to be taken nothing moves: most of the time of a product.
  logic clk, waits;
  assign waits = state_q inside {pim_pkg::SeqScalar, pim_pkg::SeqInit, pim_pkg::SeqStream,
      pim_pkg::SeqScale, pim_pkg::SeqBlockRow, pim_pkg::SeqOut} && !stream_ready_i;
  pim_clock_gate u_gate (
    .clk_i, .en_i(!rst_ni || !(waits || (state_q == pim_pkg::SeqIdle && !start_i))), .clk_o(clk)
  );

  assign opcode = pim_isa_pkg::opcode_e'(desc_i.control.opcode);
  assign broadcast = pim_isa_pkg::broadcast_e'(desc_i.control.broadcast);
  assign init = pim_isa_pkg::init_e'(desc_i.control.init);
  assign integers = desc_i.control.weights != pim_isa_pkg::WeightsBf16;

  pim_seq_decode #(
    .AllBank(AllBank),
    .VectorSetup(VectorSetup)
  ) u_decode (
    .opcode_i(opcode), .broadcast_i(broadcast), .init_i(init), .integers_i(integers), .is_t_o(is_t),
    .is_vector_o(is_vector), .is_unary_o(is_unary), .from_scalars_o(from_scalars),
    .from_column_o(from_column), .ew_op_o, .ew_scalar_o, .after_tile_o(after_tile),
    .after_setup_o(after_setup)
  );

  logic [IndexBits-1:0] row;                   // of the result, the first of a group
  logic [IndexBits-1:0] index_here, index_next;  // of the scalar
  logic [2:0] member, last;                    // row of the group, the last of the group
  logic [31:0] a, b_q, c, y;                   // addresses of the current row
  logic [31:0] tile_b, tile_count;             // right operand of the current tile, MATMUL
  logic [31:0] beat_q;                         // first beat of the tile in its row
  logic [31:0] beats_left_q;
  logic [6:0] width_q;                         // beats of the tile
  logic [GroupBits-1:0] splat_q;
  logic [SetupBits-1:0] setup_q;

  logic [31:0] beats, tile_limit, block_row, block_count;
  logic [6:0] width, tile_beats, tile_period;
  logic [31:0] rows_left;
  logic [GroupBits-1:0] part, last_part;
  logic more, narrow, step, block_all, block_first, block_go;
  logic next, block_end, tile_end, row_end, splat_end, group_end, rows_end;
  logic splat_go, splatting_q, first_part, scale_end, last_group, scaled;

  assign beats = (desc_i.cols + 32'(BeatElems - 1)) / BeatElems;
  assign tile_limit = opcode == pim_isa_pkg::OpcodeMatmul ? desc_i.tile : 32'(AccGroups);
  assign width = beats_left_q < tile_limit ? beats_left_q[6:0] : tile_limit[6:0];

  assign splat_end = splat_go && 7'(splat_q) + 7'd1 == tile_beats;
  assign step = state_q == pim_pkg::SeqSplat ? splat_end
      : stream_ready_i && state_q inside {pim_pkg::SeqInit, pim_pkg::SeqStream, pim_pkg::SeqOut};

  pim_seq_together #(
    .AccGroups(AccGroups),
    .LaneLatency(LaneLatency)
  ) u_together (
    .clk_i(clk), .rst_ni, .together_i(AllBank && is_vector && beats <= 32'(AccGroups)),
    .rows_left_i(rows_left), .new_tile_i(state_q == pim_pkg::SeqTile), .width_i(width),
    .step_i(step), .more_o(more), .part_o(part), .last_part_o(last_part), .beats_o(tile_beats),
    .narrow_o(narrow)
  );

  pim_seq_rows #(
    .RowsPerBeat(RowsPerBeat),
    .IndexBits(IndexBits),
    .RowBits(GroupBits)
  ) u_rows (
    .clk_i(clk), .rst_ni, .desc_i, .single_i(is_vector),
    .stride_c_i(init == pim_isa_pkg::InitF32 ? desc_i.host_hi : '0),
    .start_i(state_q == pim_pkg::SeqIdle && start_i),
    .tile_i(state_q == pim_pkg::SeqNext && next),
    .next_i(row_end),
    .scalar_i(state_q == pim_pkg::SeqScalar && stream_ready_i),
    .init_i(state_q == pim_pkg::SeqInit && stream_ready_i),
    .splat_i(state_q == pim_pkg::SeqSplat && splat_end),
    .out_i(state_q == pim_pkg::SeqOut && stream_ready_i),
    .further_i(last_part),
    .more_a_i(step && more && (state_q == pim_pkg::SeqInit ||
              (state_q == pim_pkg::SeqStream && (from_scalars || is_unary)))),
    .more_y_i(step && more && state_q == pim_pkg::SeqOut),
    .row_o(row), .member_o(member), .last_o(last), .a_o(a), .c_o(c), .y_o(y),
    .group_end_o(group_end), .rows_end_o(rows_end), .rows_left_o(rows_left)
  );

  pim_seq_groups #(
    .BeatBytes(BeatBytes),
    .ScalarDepth(ScalarDepth)
  ) u_groups (
    .clk_i(clk), .rst_ni, .desc_i, .restart_i((state_q == pim_pkg::SeqIdle && start_i) || row_end),
    .new_tile_i(state_q == pim_pkg::SeqTile), .width_i(width_q),
    .stream_i(state_q == pim_pkg::SeqStream && stream_ready_i),
    .scale_i(state_q == pim_pkg::SeqScale && stream_ready_i), .addr_o(tile_b),
    .count_o(tile_count), .period_o(tile_period), .first_part_o(first_part),
    .last_part_o(scale_end), .last_group_o(last_group)
  );
  assign scaled = scale_end && last_group;

  // ---- streams --------------------------------------------------------------------------
  pim_seq_stream #(
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .ScalarDepth(ScalarDepth),
    .LaneLatency(LaneLatency)
  ) u_stream (
    .desc_i, .state_i(state_q), .from_scalars_i(from_scalars), .row_i(member), .last_row_i(last),
    .a_i(a), .b_i(b_q), .c_i(c), .y_i(y),
    .tile_b_i(tile_b), .tile_count_i(tile_count), .tile_period_i(tile_period),
    .first_part_i(first_part), .tile_end_i(scaled),
    .block_row_i(block_row), .block_count_i(block_count), .block_all_i(block_all),
    .offset_i(beat_q * BeatBytes),
    .width_i(width_q),
    .first_i(part == '0),
    .more_i(more),
    .narrow_i(narrow),
    .valid_o(stream_valid_o),
    .stream_o
  );

  // The scalar of a row is looked up when its data arrive: it must not change before. And a block
  // announced now would keep the lanes busy that the result's `hold` waits for.
  assign next = !(from_scalars || is_t) || quiet_i;
  assign row_end = state_q == pim_pkg::SeqNext && next && beats_left_q == '0;

  pim_seq_blocks #(
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .AccGroups(AccGroups),
    .ScalarDepth(ScalarDepth),
    .Ways(TransposeWays)
  ) u_blocks (
    .clk_i(clk), .rst_ni, .desc_i, .new_row_i((state_q == pim_pkg::SeqIdle && start_i) || row_end),
    .new_tile_i(state_q == pim_pkg::SeqTile),
    .begin_i(state_q inside {pim_pkg::SeqSplat, pim_pkg::SeqInit}),
    .open_i(state_q == pim_pkg::SeqBlock),
    .step_i(state_q == pim_pkg::SeqBlockRow && stream_ready_i), .width_i(width_q),
    .block_end_o(block_end), .tile_end_o(tile_end), .row_o(block_row), .group_o(block_group_o),
    .count_o(block_count), .all_o(block_all), .first_o(block_first), .atoms_o(block_atoms_o),
    .base_o(block_base_o), .slices_o(block_slices_o)
  );

  // ---- settings -------------------------------------------------------------------------
  assign zero_init_o = init == pim_isa_pkg::InitZero || integers;
  assign weights_o = desc_i.control.weights;
  // Of the next clock: splats follow those of the last row without a break. `splat_o` comes late.
  assign index_here = from_column ? row + IndexBits'(part) : '0;
  assign index_next = from_column ? row + IndexBits'(part) + IndexBits'(1'b1) : '0;
  assign scalar_index_o = splat_o && splat_end && more ? index_next : index_here;

  // Splats start when everything before them has settled and then go on without a break. Before those
  // of a MATMUL_T only scalars are on their way, which all_bank does not wait for.
  assign splat_go = quiet_i || splatting_q || (AllBank && is_t);
  assign splat_o = state_q == pim_pkg::SeqSplat && splat_go;
  assign splat_zero_o = !is_vector;
  assign splat_negate_o = opcode == pim_isa_pkg::OpcodeSub;
  assign splat_row_o = member;
  assign splat_group_o = splat_q;
  // A block of a few beats would meet start values that are still on their way.
  assign block_go = block_room_i &&
      (quiet_i || !(AllBank && block_first && init != pim_isa_pkg::InitZero));
  assign block_open_o = state_q == pim_pkg::SeqBlock && block_go;
  assign block_row_o = last;
  assign done_o = state_q == pim_pkg::SeqDone;

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      state_q <= pim_pkg::SeqIdle;
      b_q <= '0;
      beat_q <= '0;
      beats_left_q <= '0;
      width_q <= '0;
      splat_q <= '0;
      splatting_q <= 1'b0;
      setup_q <= '0;
    end else begin
      unique case (state_q)
        pim_pkg::SeqIdle: if (start_i) begin
          b_q <= desc_i.addr_b;
          beat_q <= '0;
          beats_left_q <= beats;
          state_q <= !is_vector || from_scalars ? pim_pkg::SeqScalar : pim_pkg::SeqTile;
        end
        pim_pkg::SeqScalar: if (stream_ready_i && group_end) state_q <= pim_pkg::SeqTile;
        pim_pkg::SeqTile: begin
          width_q <= width;
          splat_q <= '0;
          setup_q <= '0;
          state_q <= after_tile;
        end
        pim_pkg::SeqSetup: begin
          setup_q <= setup_q + 1'b1;
          if (setup_q == SetupBits'(VectorSetup - 1)) state_q <= after_setup;
        end
        pim_pkg::SeqSplat: begin
          splatting_q <= splat_go;
          if (splat_go) begin
            splat_q <= splat_end && !more ? '0 : splat_q + 1'b1;
            if (splat_end && group_end && !more) begin
              splatting_q <= 1'b0;
              state_q <= is_t ? pim_pkg::SeqBlock : pim_pkg::SeqStream;
            end
          end
        end
        pim_pkg::SeqInit: if (stream_ready_i && group_end && !more) begin
          state_q <= is_t ? pim_pkg::SeqBlock : pim_pkg::SeqStream;
        end
        pim_pkg::SeqStream: if (stream_ready_i) begin
          if (!more) state_q <= integers ? pim_pkg::SeqScale : pim_pkg::SeqOut;
          else if (is_vector && broadcast == pim_isa_pkg::BroadcastNone) b_q <= b_q + desc_i.stride_b;
        end
        pim_pkg::SeqScale: if (stream_ready_i && scale_end) begin
          state_q <= last_group ? pim_pkg::SeqOut : pim_pkg::SeqStream;
        end
        pim_pkg::SeqBlock: if (block_go) state_q <= pim_pkg::SeqBlockRow;
        pim_pkg::SeqBlockRow: if (stream_ready_i) begin
          if (tile_end) state_q <= pim_pkg::SeqOut;
          else if (block_end) state_q <= pim_pkg::SeqBlock;
        end
        pim_pkg::SeqOut: if (stream_ready_i && group_end && !more) begin
          beat_q <= beat_q + 32'(width_q);
          beats_left_q <= beats_left_q - 32'(width_q);
          state_q <= pim_pkg::SeqNext;
        end
        pim_pkg::SeqNext: if (next) begin
          state_q <= pim_pkg::SeqTile;
          if (row_end) begin
            if (is_vector && broadcast == pim_isa_pkg::BroadcastNone) b_q <= b_q + desc_i.stride_b;
            beat_q <= '0;
            beats_left_q <= beats;
            if (rows_end) state_q <= pim_pkg::SeqDrain;
            else if (!is_vector) state_q <= pim_pkg::SeqScalar;
          end
        end
        pim_pkg::SeqDrain: if (quiet_i) state_q <= pim_pkg::SeqDone;
        default: state_q <= pim_pkg::SeqIdle;
      endcase
    end
  end

endmodule

`default_nettype wire
