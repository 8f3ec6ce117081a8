`default_nettype none

/// Compute sequencer: turns a MATMUL, MATMUL_T or vector descriptor (element-wise, unary) into
/// streams of accesses and the settings that tell the lanes what to do with them.
///
/// For every row of the result and every tile of it (at most AccGroups beats): fill the
/// accumulators, stream the operands through the lanes, write the result. Streams are queued
/// ahead of the data they need; `hold` on a stream makes the scheduler wait for the lanes.
module pim_seq #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096,
  parameter int unsigned LaneLatency = 4,
  /// Fabric clocks to set up one vector instruction (at most AccGroups beats).
  parameter int unsigned VectorSetup = 0
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

  output logic                          zero_init_o,
  output      pim_pkg::lane_op_e        ew_op_o,
  output logic      [1:0]               ew_scalar_o,
  output logic      [$clog2(ScalarDepth)-1:0] scalar_index_o,
  output logic                          splat_o,
  output logic                          splat_zero_o,
  output logic                          splat_negate_o,
  output logic      [$clog2(AccGroups)-1:0] splat_group_o,
  output logic                          block_open_o,
  output logic      [$clog2(AccGroups)-1:0] block_group_o,
  output logic      [$clog2(BeatBytes/AtomBytes+1)-1:0] block_part_o,
  output logic      [$clog2(ScalarDepth)-1:0] block_base_o,
  output logic      [$clog2(AtomBytes/2+1)-1:0] block_slices_o,
  input  wire logic                     block_room_i
);

  localparam int unsigned AtomElems = AtomBytes / 2;
  localparam int unsigned BeatElems = BeatBytes / 2;
  localparam int unsigned Parts = BeatBytes / AtomBytes;
  localparam int unsigned GroupBits = $clog2(AccGroups);
  localparam int unsigned PartBits = $clog2(Parts + 1);
  localparam int unsigned IndexBits = $clog2(ScalarDepth);
  localparam int unsigned SliceBits = $clog2(AtomElems + 1);
  localparam int unsigned SetupBits = VectorSetup > 1 ? $clog2(VectorSetup + 1) : 1;
  localparam logic AllBank = BeatBytes != AtomBytes;

  typedef enum logic [3:0] {
    StIdle,
    StScalar,    // load the scalar buffer
    StTile,      // next tile: its width
    StSetup,     // set up a vector instruction
    StSplat,     // fill the accumulators with one value
    StInit,      // load the accumulators from memory
    StStream,    // right operand through the lanes
    StBlock,     // announce a block, MATMUL_T
    StBlockRow,  // its atoms
    StOut,       // write the result
    StNext,      // next tile or row
    StDrain,
    StDone
  } state_e;

  state_e state_q;
  pim_isa_pkg::opcode_e opcode;
  pim_isa_pkg::broadcast_e broadcast;
  pim_isa_pkg::init_e init;
  // Element-wise: A is loaded, then meets B. Unary: A alone goes through the lanes.
  logic is_vector, is_unary, is_t, from_scalars;

  assign opcode = pim_isa_pkg::opcode_e'(desc_i.control.opcode);
  assign broadcast = pim_isa_pkg::broadcast_e'(desc_i.control.broadcast);
  assign init = pim_isa_pkg::init_e'(desc_i.control.init);
  assign is_t = opcode == pim_isa_pkg::OpcodeMatmulT;
  assign is_vector = pim_isa_pkg::is_vector(opcode);
  assign is_unary = pim_isa_pkg::is_unary(opcode);
  // One element a row: the right operand sits in the scalar buffer.
  assign from_scalars = is_vector && broadcast inside {pim_isa_pkg::BroadcastColumn,
                                                       pim_isa_pkg::BroadcastScalar};

  logic [31:0] row_q;                          // of the result
  logic [31:0] a_q, b_q, c_q, y_q;             // addresses of the current row
  logic [31:0] tile_b_q;                       // right operand of the current tile, MATMUL
  logic [31:0] beat_q;                         // first beat of the tile in its row
  logic [31:0] beats_left_q;
  logic [5:0] width_q;                         // beats of the tile
  logic [GroupBits-1:0] splat_q;
  logic [SetupBits-1:0] setup_q;
  // MATMUL_T: block of output columns (beat and part of it), block of the inner dimension.
  logic [GroupBits-1:0] group_q;
  logic [PartBits-1:0] part_q;
  logic [31:0] atoms_left_q;                   // atom-wide column blocks left in the row
  logic [31:0] inner_left_q;
  logic [31:0] column_q, block_q;              // addresses: first row of the block, this block
  logic [31:0] atom_row_q;
  logic [SliceBits-1:0] atom_count_q;

  logic [31:0] beats, atoms, tile_limit, scalar_atoms, offset;
  logic [5:0] width;
  logic contiguous, last_atoms;

  assign beats = (desc_i.cols + 32'(BeatElems - 1)) / BeatElems;
  assign atoms = desc_i.cols / AtomElems;
  assign tile_limit = opcode == pim_isa_pkg::OpcodeMatmul ? desc_i.tile : 32'(AccGroups);
  assign width = beats_left_q < tile_limit ? beats_left_q[5:0] : tile_limit[5:0];
  assign offset = beat_q * BeatBytes;
  assign contiguous = desc_i.stride_b == 32'(AtomBytes);
  assign last_atoms = atom_count_q == SliceBits'(AtomElems - 1);

  always_comb begin
    scalar_atoms = (desc_i.inner + 32'(AtomElems - 1)) / AtomElems;
    if (is_vector) begin
      scalar_atoms = broadcast == pim_isa_pkg::BroadcastColumn
          ? (desc_i.rows + 32'(AtomElems - 1)) / AtomElems : 32'd1;
    end
  end

  // ---- streams --------------------------------------------------------------------------
  always_comb begin
    stream_o = '0;
    stream_valid_o = 1'b0;
    stream_o.all = AllBank;
    unique case (state_q)
      StScalar: begin
        stream_valid_o = 1'b1;
        stream_o.addr = is_vector ? b_q : a_q;
        stream_o.count = scalar_atoms;
        stream_o.kind = pim_pkg::KindScalar;
        stream_o.all = 1'b0;
      end
      StInit: begin
        stream_valid_o = 1'b1;
        if (is_vector) begin
          stream_o.addr = a_q + offset;
          stream_o.count = 32'(width_q);
          stream_o.kind = pim_pkg::KindLoad;
        end else if (init == pim_isa_pkg::InitRow) begin
          stream_o.addr = c_q + offset;
          stream_o.count = 32'(width_q);
          stream_o.kind = pim_pkg::KindLoad;
        end else begin
          stream_o.addr = c_q + (offset << 1);
          stream_o.count = 32'(width_q) << 1;
          stream_o.kind = pim_pkg::KindLoadF32;
        end
      end
      StStream: begin
        stream_valid_o = 1'b1;
        if (is_vector) begin
          stream_o.addr = (from_scalars || is_unary ? a_q : b_q) + offset;
          stream_o.count = 32'(width_q);
          stream_o.kind = pim_pkg::KindEw;
          // The beat meets its own accumulators: narrow tiles wait for the load to settle, and
          // the first row waits for a scalar that fits in one atom. Alone it follows a result,
          // which has waited already.
          stream_o.hold = 32'(width_q) < LaneLatency || from_scalars;
        end else begin
          stream_o.addr = tile_b_q;
          stream_o.count = desc_i.inner * 32'(width_q);
          stream_o.kind = pim_pkg::KindMac;
          stream_o.period = width_q;
          stream_o.hold = init != pim_isa_pkg::InitZero || desc_i.inner <= AtomElems;
        end
      end
      StBlockRow: begin
        stream_valid_o = 1'b1;
        stream_o.addr = atom_row_q;
        stream_o.count = contiguous ? 32'(AtomElems) : 32'd1;
        stream_o.kind = pim_pkg::KindBlock;
        stream_o.all = 1'b0;
      end
      StOut: begin
        stream_valid_o = 1'b1;
        stream_o.hold = 1'b1;
        if (desc_i.control.out_f32) begin
          stream_o.addr = y_q + (offset << 1);
          stream_o.count = 32'(width_q) << 1;
          stream_o.kind = pim_pkg::KindF32;
        end else begin
          stream_o.addr = y_q + offset;
          stream_o.count = 32'(width_q);
          stream_o.kind = pim_pkg::KindBf16;
        end
      end
      default: ;
    endcase
  end

  // ---- settings -------------------------------------------------------------------------
  // generated:vector_op
  /// What the lanes do with a beat of the operand of a vector opcode that is read last.
  function automatic pim_pkg::lane_op_e vector_op(pim_isa_pkg::opcode_e kind);
    unique case (kind)
      pim_isa_pkg::OpcodeMul: vector_op = pim_pkg::LaneMul;
      pim_isa_pkg::OpcodeRelu: vector_op = pim_pkg::LaneRelu;
      default: vector_op = pim_pkg::LaneMac;
    endcase
  endfunction
  // end generated

  assign zero_init_o = init == pim_isa_pkg::InitZero;
  assign scalar_index_o = broadcast == pim_isa_pkg::BroadcastColumn ? row_q[IndexBits-1:0] : '0;

  always_comb begin
    ew_op_o = vector_op(opcode);
    ew_scalar_o = 2'd0;
    if (opcode == pim_isa_pkg::OpcodeMul) begin
      if (from_scalars) ew_op_o = pim_pkg::LaneMuls;
      ew_scalar_o = 2'd2;
    end else if (opcode == pim_isa_pkg::OpcodeSub && !from_scalars) begin
      ew_scalar_o = 2'd1;
    end
  end

  // Splats start when everything before them has settled and then go on without a break.
  logic splat_go, splatting_q;
  assign splat_go = quiet_i || splatting_q;
  assign splat_o = state_q == StSplat && splat_go;
  assign splat_zero_o = !is_vector;
  assign splat_negate_o = opcode == pim_isa_pkg::OpcodeSub;
  assign splat_group_o = splat_q;
  assign block_open_o = state_q == StBlock && block_room_i;
  assign block_group_o = group_q;
  assign block_part_o = part_q;
  assign block_base_o = IndexBits'(desc_i.inner - inner_left_q);
  assign block_slices_o = inner_left_q < 32'(AtomElems) ? SliceBits'(inner_left_q)
                                                        : SliceBits'(AtomElems);
  assign done_o = state_q == StDone;

  state_e after_tile, after_setup;
  always_comb begin
    after_setup = StStream;
    if (is_vector) begin
      if (from_scalars) begin
        if (opcode != pim_isa_pkg::OpcodeMul) after_setup = StSplat;
      end else if (!is_unary) begin
        after_setup = StInit;
      end
    end else if (init != pim_isa_pkg::InitZero) begin
      after_setup = StInit;
    end else if (is_t) begin
      after_setup = StSplat;
    end
    after_tile = is_vector && VectorSetup != 0 ? StSetup : after_setup;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      row_q <= '0;
      a_q <= '0;
      b_q <= '0;
      c_q <= '0;
      y_q <= '0;
      tile_b_q <= '0;
      beat_q <= '0;
      beats_left_q <= '0;
      width_q <= '0;
      splat_q <= '0;
      splatting_q <= 1'b0;
      setup_q <= '0;
      group_q <= '0;
      part_q <= '0;
      atoms_left_q <= '0;
      inner_left_q <= '0;
      column_q <= '0;
      block_q <= '0;
      atom_row_q <= '0;
      atom_count_q <= '0;
    end else begin
      unique case (state_q)
        StIdle: if (start_i) begin
          row_q <= '0;
          a_q <= desc_i.addr_a;
          b_q <= desc_i.addr_b;
          c_q <= desc_i.host_lo;
          y_q <= desc_i.addr_y;
          tile_b_q <= desc_i.addr_b;
          column_q <= desc_i.addr_b;
          atoms_left_q <= atoms;
          beat_q <= '0;
          beats_left_q <= beats;
          state_q <= !is_vector || from_scalars ? StScalar : StTile;
        end
        StScalar: if (stream_ready_i) state_q <= StTile;
        StTile: begin
          width_q <= width;
          splat_q <= '0;
          group_q <= '0;
          part_q <= '0;
          setup_q <= '0;
          state_q <= after_tile;
        end
        StSetup: begin
          setup_q <= setup_q + 1'b1;
          if (setup_q == SetupBits'(VectorSetup - 1)) state_q <= after_setup;
        end
        StSplat: begin
          splatting_q <= splat_go;
          if (splat_go) begin
            splat_q <= splat_q + 1'b1;
            if (6'(splat_q) + 6'd1 == width_q) begin
              splatting_q <= 1'b0;
              inner_left_q <= desc_i.inner;
              block_q <= column_q;
              state_q <= is_t ? StBlock : StStream;
            end
          end
        end
        StInit: if (stream_ready_i) begin
          inner_left_q <= desc_i.inner;
          block_q <= column_q;
          state_q <= is_t ? StBlock : StStream;
        end
        StStream: if (stream_ready_i) state_q <= StOut;
        StBlock: begin
          atom_row_q <= block_q;
          atom_count_q <= '0;
          if (block_room_i) state_q <= StBlockRow;
        end
        StBlockRow: if (stream_ready_i) begin
          atom_row_q <= atom_row_q + desc_i.stride_b;
          atom_count_q <= atom_count_q + 1'b1;
          if (contiguous || last_atoms) begin
            block_q <= block_q + desc_i.tile;
            inner_left_q <= inner_left_q - 32'(AtomElems);
            state_q <= StBlock;
            if (inner_left_q <= 32'(AtomElems)) begin
              // Next block of output columns; the tile ends with its last beat or the row.
              column_q <= column_q + (desc_i.stride_b * AtomElems);
              block_q <= column_q + (desc_i.stride_b * AtomElems);
              inner_left_q <= desc_i.inner;
              atoms_left_q <= atoms_left_q - 32'd1;
              part_q <= part_q + 1'b1;
              if (part_q == PartBits'(Parts - 1)) begin
                part_q <= '0;
                group_q <= group_q + 1'b1;
              end
              if (atoms_left_q == 32'd1 ||
                  (part_q == PartBits'(Parts - 1) && 6'(group_q) + 6'd1 == width_q)) begin
                state_q <= StOut;
              end
            end
          end
        end
        StOut: if (stream_ready_i) begin
          beat_q <= beat_q + 32'(width_q);
          beats_left_q <= beats_left_q - 32'(width_q);
          tile_b_q <= tile_b_q + desc_i.inner * 32'(width_q) * BeatBytes;
          state_q <= StNext;
        end
        // The scalar of a row is looked up when its data arrive: it must not change before. And a
        // block announced now would keep the lanes busy that the result's `hold` waits for.
        StNext: if (!(from_scalars || is_t) || quiet_i) begin
          state_q <= StTile;
          if (beats_left_q == '0) begin
            row_q <= row_q + 32'd1;
            a_q <= a_q + desc_i.stride_a;
            y_q <= y_q + desc_i.stride_y;
            if (is_vector && broadcast == pim_isa_pkg::BroadcastNone) b_q <= b_q + desc_i.stride_b;
            if (init == pim_isa_pkg::InitF32) c_q <= c_q + desc_i.host_hi;
            tile_b_q <= desc_i.addr_b;
            column_q <= desc_i.addr_b;
            atoms_left_q <= atoms;
            beat_q <= '0;
            beats_left_q <= beats;
            if (row_q + 32'd1 == desc_i.rows) state_q <= StDrain;
            else if (!is_vector) state_q <= StScalar;
          end
        end
        StDrain: if (quiet_i) state_q <= StDone;
        default: state_q <= StIdle;
      endcase
    end
  end

endmodule

`default_nettype wire
