`default_nettype none

/// The walk of a MATMUL_T through its right operand: blocks of a beat of output columns and
/// AtomBytes / 2 elements of the inner dimension.
///
/// One way: along the inner dimension, then the next beat of columns. Several ways: through the beats
/// of the tile, then the next elements of the inner dimension, so that blocks that follow each other
/// work on different accumulators.
///
/// A block is announced by what `group_o` to `slices_o` say, then its atoms follow at `row_o`: in one
/// stream where they are side by side, read from all banks at once where they are whole beats. All
/// outputs are of the current position; a step of one clock is taken with `step_i`.
module pim_seq_blocks #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096,
  parameter int unsigned Ways = 1
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  input  wire pim_isa_pkg::descriptor_t desc_i,
  /// A row of the result begins; a tile of it; the blocks of the tile; a block.
  input  wire logic                     new_row_i,
  input  wire logic                     new_tile_i,
  input  wire logic                     begin_i,
  input  wire logic                     open_i,
  /// The stream at `row_o` has been taken.
  input  wire logic                     step_i,
  /// Beats of the tile.
  input  wire logic [6:0]               width_i,
  /// The step ends the block, and the tile.
  output logic                          block_end_o,
  output logic                          tile_end_o,
  /// The next stream: address, accesses, whether they go to all banks; the first of the tile.
  output logic      [31:0]              row_o,
  output logic      [31:0]              count_o,
  output logic                          all_o,
  output logic                          first_o,
  output logic      [$clog2(AccGroups)-1:0] group_o,
  output logic      [$clog2(BeatBytes/2+1)-1:0] atoms_o,
  output logic      [$clog2(ScalarDepth)-1:0] base_o,
  output logic      [$clog2(AtomBytes/2+1)-1:0] slices_o
);

  localparam int unsigned AtomElems = AtomBytes / 2;
  localparam int unsigned Parts = BeatBytes / AtomBytes;
  localparam int unsigned BeatElems = BeatBytes / 2;
  localparam int unsigned BeatBits = $clog2(BeatBytes);
  localparam int unsigned IndexBits = $clog2(ScalarDepth);
  localparam int unsigned SliceBits = $clog2(AtomElems + 1);
  localparam int unsigned AtomsBits = $clog2(BeatElems + 1);

  // Columns from the block in hand on, and from the first one of these elements of the inner
  // dimension on; elements that are left of that.
  logic [31:0] left_q, start_left_q, inner_left_q;
  // Addresses: the block in hand, the first one of these elements, the first one of all; next tile.
  logic [31:0] block_q, start_q, first_q, tile_q;
  logic [31:0] row_q;
  logic [$clog2(AccGroups)-1:0] group_q, start_group_q;
  logic [AtomsBits-1:0] rows_q;                // of the block, that have been asked for
  logic first_inner_q;
  logic [31:0] next_block, next_tile;
  logic beside, row_end, tile_end, groups_end, inner_end;

  assign beside = desc_i.stride_b == 32'(AtomBytes);
  assign all_o = Parts > 1 && AtomElems % Parts == 0 && beside &&
      desc_i.addr_b[BeatBits-1:0] == '0 && desc_i.tile[BeatBits-1:0] == '0;
  assign next_block = block_q + desc_i.stride_b * BeatElems;
  assign next_tile = first_inner_q ? next_block : tile_q;
  assign row_end = left_q <= 32'(BeatElems);
  assign tile_end = row_end || 7'(group_q) + 7'd1 == width_i;
  assign groups_end = Ways == 1 || tile_end;
  assign inner_end = inner_left_q <= 32'(AtomElems);

  // Atoms that follow each other are one stream.
  assign block_end_o = beside || rows_q + 1'b1 == atoms_o;
  assign tile_end_o = block_end_o && inner_end && tile_end;
  assign row_o = row_q;
  assign count_o = !beside ? 32'd1 : all_o ? 32'(atoms_o / AtomsBits'(Parts)) : 32'(atoms_o);
  assign group_o = group_q;
  assign atoms_o = row_end ? AtomsBits'(left_q) : AtomsBits'(BeatElems);
  assign base_o = IndexBits'(desc_i.inner - inner_left_q);
  assign slices_o = inner_left_q < 32'(AtomElems) ? SliceBits'(inner_left_q)
                                                  : SliceBits'(AtomElems);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q <= '0;
      start_left_q <= '0;
      inner_left_q <= '0;
      block_q <= '0;
      start_q <= '0;
      first_q <= '0;
      tile_q <= '0;
      row_q <= '0;
      group_q <= '0;
      start_group_q <= '0;
      rows_q <= '0;
      first_inner_q <= 1'b0;
      first_o <= 1'b0;
    end else begin
      if (new_row_i) begin
        first_q <= desc_i.addr_b;
        start_left_q <= desc_i.cols;
      end
      if (new_tile_i) begin
        group_q <= '0;
        start_group_q <= '0;
      end
      if (begin_i) begin
        inner_left_q <= desc_i.inner;
        first_inner_q <= 1'b1;
        first_o <= 1'b1;
        block_q <= first_q;
        start_q <= first_q;
        left_q <= start_left_q;
      end
      if (open_i) begin
        row_q <= block_q;
        rows_q <= '0;
      end
      if (step_i) begin
        first_o <= 1'b0;
        row_q <= row_q + desc_i.stride_b;
        rows_q <= rows_q + 1'b1;
        if (block_end_o && !groups_end) begin
          // Next beat of output columns.
          block_q <= next_block;
          left_q <= left_q - 32'(BeatElems);
          group_q <= group_q + 1'b1;
        end else if (block_end_o && !inner_end) begin
          // Next elements of the inner dimension, for the same columns.
          inner_left_q <= inner_left_q - 32'(AtomElems);
          first_inner_q <= 1'b0;
          tile_q <= next_tile;
          start_q <= start_q + desc_i.tile;
          block_q <= start_q + desc_i.tile;
          left_q <= start_left_q;
          group_q <= start_group_q;
        end else if (block_end_o) begin
          // The columns after these, from the first element on.
          inner_left_q <= desc_i.inner;
          first_inner_q <= 1'b1;
          first_q <= next_tile;
          start_q <= next_tile;
          block_q <= next_tile;
          left_q <= left_q - 32'(BeatElems);
          start_left_q <= left_q - 32'(BeatElems);
          group_q <= group_q + 1'b1;
          start_group_q <= group_q + 1'b1;
        end
      end
    end
  end

endmodule

`default_nettype wire
