`default_nettype none

/// The stream of accesses that a state of the compute sequencer asks for; combinational.
module pim_seq_stream #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned ScalarDepth = 4096,
  parameter int unsigned LaneLatency = 4
) (
  input  wire pim_isa_pkg::descriptor_t desc_i,
  input  wire pim_pkg::seq_state_e      state_i,
  /// The right operand of a vector instruction sits in the scalar buffer.
  input  wire logic                     from_scalars_i,
  /// Row of a product's group, the last of the group.
  input  wire logic [2:0]               row_i,
  input  wire logic [2:0]               last_row_i,
  /// Addresses of the current row of A, B, C and Y.
  input  wire logic [31:0]              a_i,
  input  wire logic [31:0]              b_i,
  input  wire logic [31:0]              c_i,
  input  wire logic [31:0]              y_i,
  /// MATMUL: what is next of the right operand: address, beats, beats of a step. Integers: the scales
  /// are for the first part of the sums, and after them the tile ends. MATMUL_T: atoms of a block.
  input  wire logic [31:0]              tile_b_i,
  input  wire logic [31:0]              tile_count_i,
  input  wire logic [6:0]               tile_period_i,
  input  wire logic                     first_part_i,
  input  wire logic                     tile_end_i,
  input  wire logic [31:0]              block_row_i,
  input  wire logic [31:0]              block_count_i,
  input  wire logic                     block_all_i,
  /// Bytes from the start of the row to the tile, its beats.
  input  wire logic [31:0]              offset_i,
  input  wire logic [6:0]               width_i,
  /// Vector operation: the first of the rows that go together; another one follows; all their beats
  /// are fewer than the clocks in which a lane works on one.
  input  wire logic                     first_i,
  input  wire logic                     more_i,
  input  wire logic                     narrow_i,
  output logic                          valid_o,
  output      pim_pkg::stream_t         stream_o
);

  localparam int unsigned AtomElems = AtomBytes / 2;
  localparam int unsigned BeatElems = BeatBytes / 2;
  localparam int unsigned BeatBits = $clog2(BeatBytes);
  localparam logic AllBank = BeatBytes != AtomBytes;
  // Whole beats of scalars fit in the buffer (pim_lane_feed).
  localparam logic WideScalars = AllBank && ScalarDepth > BeatElems;

  pim_isa_pkg::opcode_e opcode;
  pim_isa_pkg::broadcast_e broadcast;
  pim_isa_pkg::init_e init;
  logic is_vector, is_unary, integers;
  logic [2:0] last_slot;
  logic [31:0] scalars;
  logic [BeatBits-1:0] scalar_offset;          // in a beat
  logic scalar_all;

  assign opcode = pim_isa_pkg::opcode_e'(desc_i.control.opcode);
  assign broadcast = pim_isa_pkg::broadcast_e'(desc_i.control.broadcast);
  assign init = pim_isa_pkg::init_e'(desc_i.control.init);
  assign is_vector = pim_isa_pkg::is_vector(opcode);
  assign is_unary = pim_isa_pkg::is_unary(opcode);
  assign integers = desc_i.control.weights != pim_isa_pkg::WeightsBf16;
  // Each row takes the accumulators of as many rows as there are weights in the 16 bits of a lane.
  assign last_slot = ((last_row_i + 3'd1) << desc_i.control.weights) - 3'd1;

  // Scalars come from all banks at once where they would open more than half of them anyway.
  always_comb begin
    scalars = desc_i.inner;
    scalar_offset = desc_i.addr_a[BeatBits-1:0] | desc_i.stride_a[BeatBits-1:0];
    if (is_vector) begin
      scalars = broadcast == pim_isa_pkg::BroadcastColumn ? desc_i.rows : 32'd1;
      scalar_offset = desc_i.addr_b[BeatBits-1:0];
    end
    scalar_all = WideScalars && scalars > 32'(BeatElems / 2) && scalar_offset == '0;
  end

  always_comb begin
    stream_o = '0;
    valid_o = 1'b0;
    stream_o.all = AllBank;
    stream_o.row = row_i;
    stream_o.more = more_i && state_i != pim_pkg::SeqScalar;
    unique case (state_i)
      pim_pkg::SeqScalar: begin
        valid_o = 1'b1;
        stream_o.addr = is_vector ? b_i : a_i;
        stream_o.count = scalar_all ? (scalars + 32'(BeatElems - 1)) / BeatElems
                                    : (scalars + 32'(AtomElems - 1)) / AtomElems;
        stream_o.kind = pim_pkg::KindScalar;
        stream_o.all = scalar_all;
      end
      pim_pkg::SeqInit: begin
        valid_o = 1'b1;
        if (is_vector) begin
          stream_o.addr = a_i + offset_i;
          stream_o.count = 32'(width_i);
          stream_o.kind = pim_pkg::KindLoad;
        end else if (init == pim_isa_pkg::InitRow) begin
          stream_o.addr = c_i + offset_i;
          stream_o.count = 32'(width_i);
          stream_o.kind = pim_pkg::KindLoad;
        end else begin
          stream_o.addr = c_i + (offset_i << 1);
          stream_o.count = 32'(width_i) << 1;
          stream_o.kind = pim_pkg::KindLoadF32;
        end
      end
      pim_pkg::SeqStream: begin
        valid_o = 1'b1;
        if (is_vector) begin
          stream_o.addr = (from_scalars_i || is_unary ? a_i : b_i) + offset_i;
          stream_o.count = 32'(width_i);
          stream_o.kind = pim_pkg::KindEw;
          // The beat meets its own accumulators: narrow tiles wait for the load to settle, and
          // the first row waits for a scalar that fits in one atom. Alone it follows a result,
          // which has waited already.
          stream_o.hold = first_i && (narrow_i || from_scalars_i);
        end else begin
          stream_o.addr = tile_b_i;
          stream_o.count = tile_count_i;
          stream_o.kind = pim_pkg::KindMac;
          stream_o.period = tile_period_i;
          stream_o.row = last_slot;
          stream_o.more = integers;
          // Sums of integers begin with 0, wherever the results do.
          stream_o.hold = (init != pim_isa_pkg::InitZero && !integers) ||
              desc_i.inner <= (scalar_all ? BeatElems : AtomElems);
        end
      end
      pim_pkg::SeqScale: begin
        valid_o = 1'b1;
        stream_o.addr = tile_b_i;
        stream_o.count = 32'(width_i);
        stream_o.kind = pim_pkg::KindScale;
        stream_o.period = width_i;
        stream_o.row = last_slot;
        stream_o.more = !tile_end_i;
        stream_o.hold = first_part_i || 32'(width_i) < LaneLatency;
      end
      pim_pkg::SeqBlockRow: begin
        valid_o = 1'b1;
        stream_o.addr = block_row_i;
        stream_o.count = block_count_i;
        stream_o.kind = pim_pkg::KindBlock;
        stream_o.all = block_all_i;
      end
      pim_pkg::SeqOut: begin
        valid_o = 1'b1;
        stream_o.hold = 1'b1;
        if (desc_i.control.out_f32) begin
          stream_o.addr = y_i + (offset_i << 1);
          stream_o.count = 32'(width_i) << 1;
          stream_o.kind = pim_pkg::KindF32;
        end else begin
          stream_o.addr = y_i + offset_i;
          stream_o.count = 32'(width_i);
          stream_o.kind = pim_pkg::KindBf16;
        end
      end
      default: ;
    endcase
  end

endmodule

`default_nettype wire
