`default_nettype none

/// Turns square blocks of the right operand on their side for Y = A x B^T.
///
/// A block is `Size` atoms (rows of B, that is output columns) of `Size` elements along the
/// inner dimension. It leaves as slices of one inner element for `Size` output columns, so that
/// the lanes add in the same order as for Y = A x B and give the same bits. Two buffers: one is
/// filled while the other leaves. Slices go out some clocks apart, because all of a block work on
/// the same accumulators.
///
/// An atom is written and a slice read in one clock, from `Size` block memories an element wide: the
/// element of row r and column c is in memory (r + c) mod `Size`, so that neither a row nor a
/// column needs two of one memory. A slice takes three clocks: read, turned by some places, turned
/// by the rest on its way out. It is read in the clock that writes the last atom of its block; the
/// element of both is kept beside.
module pim_transpose #(
  /// Elements of an atom; a power of two.
  parameter int unsigned Size = 32,
  /// Bits of the tag that goes with a block.
  parameter int unsigned TagBits = 8,
  /// Most clocks between two slices.
  parameter int unsigned Spacing = 4,
  /// Bits of an index into the inner dimension.
  parameter int unsigned IndexBits = 12
) (
  input  wire logic                      clk_i,
  input  wire logic                      rst_ni,
  /// Drop everything.
  input  wire logic                      flush_i,
  /// Announce a block: its tag, the inner index of its first slice, and its slices (1..Size).
  input  wire logic                      open_i,
  input  wire logic [TagBits-1:0]        tag_i,
  input  wire logic [IndexBits-1:0]      base_i,
  input  wire logic [$clog2(Size+1)-1:0] slices_i,
  /// Clocks from one of its slices to the next, 1..Spacing.
  input  wire logic [$clog2(Spacing+1)-1:0] spacing_i,
  /// A block may be announced.
  output logic                           room_o,
  /// Next atom of the oldest block that is not complete.
  input  wire logic                      valid_i,
  input  wire logic [Size*16-1:0]        data_i,
  /// A slice, with the tag of its block.
  output logic                           valid_o,
  output logic      [Size*16-1:0]        data_o,
  output logic      [TagBits-1:0]        tag_o,
  /// A slice leaves in the next clock; its inner index.
  output logic                           next_o,
  output logic      [IndexBits-1:0]      index_o,
  /// No block is announced.
  output logic                           idle_o
);

  localparam int unsigned RowBits = $clog2(Size);
  localparam int unsigned CountBits = $clog2(Size + 1);
  localparam int unsigned GapBits = $clog2(Spacing + 1);

  logic [1:0] open_q, full_q;
  logic [TagBits-1:0] tags_q [2];
  logic [TagBits-1:0] tag_q;
  logic [IndexBits-1:0] base_q [2];
  logic [CountBits-1:0] slices_q [2];
  logic [GapBits-1:0] spacing_q [2];
  logic open_sel_q, fill_sel_q, drain_sel_q;
  logic [RowBits-1:0] fill_row_q;
  logic [CountBits-1:0] slice_q;
  logic [GapBits-1:0] gap_q;
  logic filled, starts, block_end, leaves_q, leave_sel_q;

  assign room_o = !open_q[open_sel_q];
  assign idle_o = open_q == '0;
  assign filled = valid_i && fill_row_q == '1;
  // A slice is read: also in the clock that completes its block.
  assign starts = (full_q[drain_sel_q] || (filled && fill_sel_q == drain_sel_q)) && gap_q == '0;
  assign block_end = slice_q + 1'b1 == slices_q[drain_sel_q];

  if (Size < 2 || (Size & (Size - 1)) != 0) begin : gen_check
    $error("%m: Size must be a power of two");
  end

  // Element i comes from place (i + places) mod Size; of the places only the bits of `which` count.
  function automatic logic [Size*16-1:0] rotate(logic [Size*16-1:0] elements,
                                                logic [RowBits-1:0] places,
                                                logic [RowBits-1:0] which);
    rotate = elements;
    for (int unsigned i = 0; i < RowBits; i++) begin
      if (which[i] && places[i]) begin
        rotate = (Size*16)'({rotate, rotate} >> (16 << i));
      end
    end
  endfunction

  localparam logic [RowBits-1:0] Coarse = '1 << (RowBits / 2);

  logic [RowBits-1:0] column;
  logic [Size*16-1:0] turned, read;

  assign column = RowBits'(slice_q);

  // Where nothing is written a simulation need not rotate.
  always_comb begin
    turned = 'x;
    if (valid_i) turned = rotate(data_i, -fill_row_q, '1);
  end

  for (genvar m = 0; m < Size; m++) begin : gen_memory
    localparam logic [RowBits-1:0] Place = RowBits'(m);
    // A slice reads no row that is written in the same clock, but for the element kept beside.
    pim_ram #(
      .Width(16),
      .Depth(2 * Size)
    ) u_ram (
      .clk_i,
      .write_i(valid_i),
      .write_index_i({fill_sel_q, fill_row_q}),
      .write_data_i(turned[m*16+:16]),
      .read_i(starts),
      .read_index_i({drain_sel_q, Place - column}),
      .read_data_o(read[m*16+:16])
    );
  end

  // The first element of the last atom, in the place of its memory.
  logic late_valid_q;
  logic [15:0] late_q;
  logic [Size*16-1:0] slice, half_q;
  logic [RowBits-1:0] column_q, places_q;

  always_ff @(posedge clk_i) begin
    if (starts) begin
      late_valid_q <= filled && fill_sel_q == drain_sel_q;
      late_q <= data_i[15:0];
      column_q <= column;
      tag_q <= tags_q[drain_sel_q];
      index_o <= base_q[drain_sel_q] + IndexBits'(slice_q);
    end
    if (next_o) begin
      half_q <= rotate(slice, column_q, Coarse);
      places_q <= column_q;
      tag_o <= tag_q;
    end
  end

  always_comb begin
    slice = read;
    if (late_valid_q) slice[(Size-1)*16+:16] = late_q;
  end

  always_comb begin
    data_o = 'x;
    if (valid_o) data_o = rotate(half_q, places_q, ~Coarse);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      open_q <= '0;
      full_q <= '0;
      tags_q[0] <= '0;
      tags_q[1] <= '0;
      base_q[0] <= '0;
      base_q[1] <= '0;
      slices_q[0] <= '0;
      slices_q[1] <= '0;
      spacing_q[0] <= '0;
      spacing_q[1] <= '0;
      open_sel_q <= 1'b0;
      fill_sel_q <= 1'b0;
      drain_sel_q <= 1'b0;
      fill_row_q <= '0;
      slice_q <= '0;
      gap_q <= '0;
      next_o <= 1'b0;
      valid_o <= 1'b0;
      leaves_q <= 1'b0;
      leave_sel_q <= 1'b0;
    end else begin
      next_o <= starts;
      valid_o <= next_o;
      if (starts) gap_q <= spacing_q[drain_sel_q] - 1'b1;
      else if (gap_q != '0) gap_q <= gap_q - 1'b1;
      if (open_i && room_o) begin
        open_q[open_sel_q] <= 1'b1;
        tags_q[open_sel_q] <= tag_i;
        base_q[open_sel_q] <= base_i;
        slices_q[open_sel_q] <= slices_i;
        spacing_q[open_sel_q] <= spacing_i;
        open_sel_q <= !open_sel_q;
      end
      if (valid_i) fill_row_q <= fill_row_q + 1'b1;
      if (filled) begin
        full_q[fill_sel_q] <= 1'b1;
        fill_sel_q <= !fill_sel_q;
      end
      // The last slice has been read; the block is over when it leaves.
      leaves_q <= starts && block_end;
      leave_sel_q <= drain_sel_q;
      if (starts) begin
        slice_q <= block_end ? '0 : slice_q + 1'b1;
        if (block_end) begin
          full_q[drain_sel_q] <= 1'b0;
          drain_sel_q <= !drain_sel_q;
        end
      end
      if (leaves_q) open_q[leave_sel_q] <= 1'b0;
    end
  end

endmodule

`default_nettype wire
