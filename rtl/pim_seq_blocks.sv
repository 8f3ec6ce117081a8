`default_nettype none

/// The walk of a MATMUL_T through its right operand: blocks of AtomBytes / 2 rows and columns, one
/// after the other along the inner dimension, then the next output columns.
///
/// A block is announced by what `group_o` to `slices_o` say, then its atoms follow at `row_o`. All
/// outputs are of the current position; a step of one clock is taken with `step_i`.
module pim_seq_blocks #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096
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
  /// Address of the next atoms.
  output logic      [31:0]              row_o,
  output logic      [$clog2(AccGroups)-1:0] group_o,
  output logic      [$clog2(BeatBytes/AtomBytes+1)-1:0] part_o,
  output logic      [$clog2(ScalarDepth)-1:0] base_o,
  output logic      [$clog2(AtomBytes/2+1)-1:0] slices_o
);

  localparam int unsigned AtomElems = AtomBytes / 2;
  localparam int unsigned Parts = BeatBytes / AtomBytes;
  localparam int unsigned PartBits = $clog2(Parts + 1);
  localparam int unsigned IndexBits = $clog2(ScalarDepth);
  localparam int unsigned SliceBits = $clog2(AtomElems + 1);

  // Block of output columns (beat and part of it), block of the inner dimension.
  logic [$clog2(AccGroups)-1:0] group_q;
  logic [PartBits-1:0] part_q;
  logic [31:0] atoms_left_q;                   // atom-wide column blocks left in the row
  logic [31:0] inner_left_q;
  logic [31:0] column_q, block_q;              // addresses: first row of the block, this block
  logic [31:0] atom_row_q;
  logic [SliceBits-1:0] atom_count_q;
  logic [31:0] next_column;
  logic column_end, beat_end;

  assign next_column = column_q + (desc_i.stride_b * AtomElems);
  assign column_end = inner_left_q <= 32'(AtomElems);
  assign beat_end = part_q == PartBits'(Parts - 1);

  // Atoms that follow each other are one stream.
  assign block_end_o =
      desc_i.stride_b == 32'(AtomBytes) || atom_count_q == SliceBits'(AtomElems - 1);
  // The tile ends with its last beat or the row.
  assign tile_end_o = block_end_o && column_end &&
      (atoms_left_q == 32'd1 || (beat_end && 7'(group_q) + 7'd1 == width_i));
  assign row_o = atom_row_q;
  assign group_o = group_q;
  assign part_o = part_q;
  assign base_o = IndexBits'(desc_i.inner - inner_left_q);
  assign slices_o = inner_left_q < 32'(AtomElems) ? SliceBits'(inner_left_q)
                                                  : SliceBits'(AtomElems);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      group_q <= '0;
      part_q <= '0;
      atoms_left_q <= '0;
      inner_left_q <= '0;
      column_q <= '0;
      block_q <= '0;
      atom_row_q <= '0;
      atom_count_q <= '0;
    end else begin
      if (new_row_i) begin
        column_q <= desc_i.addr_b;
        atoms_left_q <= desc_i.cols / AtomElems;
      end
      if (new_tile_i) begin
        group_q <= '0;
        part_q <= '0;
      end
      if (begin_i) begin
        inner_left_q <= desc_i.inner;
        block_q <= column_q;
      end
      if (open_i) begin
        atom_row_q <= block_q;
        atom_count_q <= '0;
      end
      if (step_i) begin
        atom_row_q <= atom_row_q + desc_i.stride_b;
        atom_count_q <= atom_count_q + 1'b1;
        if (block_end_o) begin
          block_q <= block_q + desc_i.tile;
          inner_left_q <= inner_left_q - 32'(AtomElems);
          if (column_end) begin
            // Next block of output columns.
            column_q <= next_column;
            block_q <= next_column;
            inner_left_q <= desc_i.inner;
            atoms_left_q <= atoms_left_q - 32'd1;
            part_q <= part_q + 1'b1;
            if (beat_end) begin
              part_q <= '0;
              group_q <= group_q + 1'b1;
            end
          end
        end
      end
    end
  end

endmodule

`default_nettype wire
