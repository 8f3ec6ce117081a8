`default_nettype none

/// Turns square blocks of the right operand on their side for Y = A x B^T.
///
/// A block is `Size` atoms (rows of B, that is output columns) of `Size` elements along the
/// inner dimension. It leaves as slices of one inner element for `Size` output columns, so that
/// the lanes add in the same order as for Y = A x B and give the same bits. Two buffers: one is
/// filled while the other leaves. Slices go out `Spacing` clocks apart, because all of a block
/// work on the same accumulators.
///
/// An atom is written and a slice read in one clock, from `Size` memories an element wide: the
/// element of row r and column c is in memory (r + c) mod `Size`, so that neither a row nor a
/// column needs two of one memory. Small memories are what an FPGA has.
module pim_transpose #(
  /// Elements of an atom; a power of two.
  parameter int unsigned Size = 32,
  /// Bits of the tag that goes with a block.
  parameter int unsigned TagBits = 8,
  /// Clocks between two slices.
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
  /// A block may be announced.
  output logic                           room_o,
  /// Next atom of the oldest block that is not complete.
  input  wire logic                      valid_i,
  input  wire logic [Size*16-1:0]        data_i,
  /// A slice, with the tag of its block and its inner index.
  output logic                           valid_o,
  output logic      [Size*16-1:0]        data_o,
  output logic      [TagBits-1:0]        tag_o,
  output logic      [IndexBits-1:0]      index_o,
  /// No block is announced.
  output logic                           idle_o
);

  localparam int unsigned RowBits = $clog2(Size);
  localparam int unsigned CountBits = $clog2(Size + 1);
  localparam int unsigned GapBits = $clog2(Spacing + 1);

  logic [1:0] open_q, full_q;
  logic [TagBits-1:0] tag_q [2];
  logic [IndexBits-1:0] base_q [2];
  logic [CountBits-1:0] slices_q [2];
  logic open_sel_q, fill_sel_q, drain_sel_q;
  logic [RowBits-1:0] fill_row_q;
  logic [CountBits-1:0] slice_q;
  logic [GapBits-1:0] gap_q;
  logic emit, block_end;

  assign room_o = !open_q[open_sel_q];
  assign idle_o = open_q == '0;
  assign emit = full_q[drain_sel_q] && gap_q == '0;
  assign block_end = slice_q + 1'b1 == slices_q[drain_sel_q];

  if (Size < 2 || (Size & (Size - 1)) != 0) begin : gen_check
    $error("%m: Size must be a power of two");
  end

  // Element i comes from place (i + places) mod Size.
  function automatic logic [Size*16-1:0] rotate(logic [Size*16-1:0] elements,
                                                logic [RowBits-1:0] places);
    return (Size*16)'({elements, elements} >> {places, 4'b0});
  endfunction

  logic [RowBits-1:0] column;
  logic [Size*16-1:0] turned, read;

  assign column = RowBits'(slice_q);

  // Where nothing is written a simulation need not rotate.
  always_comb begin
    turned = 'x;
    if (valid_i) turned = rotate(data_i, -fill_row_q);
  end

  for (genvar m = 0; m < Size; m++) begin : gen_memory
    localparam logic [RowBits-1:0] Place = RowBits'(m);
    logic [15:0] memory_q [2*Size];
    always_ff @(posedge clk_i) begin
      if (valid_i) memory_q[{fill_sel_q, fill_row_q}] <= turned[m*16+:16];
    end
    assign read[m*16+:16] = memory_q[{drain_sel_q, Place - column}];
  end

  always_ff @(posedge clk_i) begin
    if (emit) begin
      data_o <= rotate(read, column);
      tag_o <= tag_q[drain_sel_q];
      index_o <= base_q[drain_sel_q] + IndexBits'(slice_q);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      open_q <= '0;
      full_q <= '0;
      tag_q[0] <= '0;
      tag_q[1] <= '0;
      base_q[0] <= '0;
      base_q[1] <= '0;
      slices_q[0] <= '0;
      slices_q[1] <= '0;
      open_sel_q <= 1'b0;
      fill_sel_q <= 1'b0;
      drain_sel_q <= 1'b0;
      fill_row_q <= '0;
      slice_q <= '0;
      gap_q <= '0;
      valid_o <= 1'b0;
    end else begin
      valid_o <= emit;
      if (emit) gap_q <= GapBits'(Spacing - 1);
      else if (gap_q != '0) gap_q <= gap_q - 1'b1;
      if (open_i && room_o) begin
        open_q[open_sel_q] <= 1'b1;
        tag_q[open_sel_q] <= tag_i;
        base_q[open_sel_q] <= base_i;
        slices_q[open_sel_q] <= slices_i;
        open_sel_q <= !open_sel_q;
      end
      if (valid_i) begin
        fill_row_q <= fill_row_q + 1'b1;
        if (fill_row_q == '1) begin
          full_q[fill_sel_q] <= 1'b1;
          fill_sel_q <= !fill_sel_q;
        end
      end
      if (emit) begin
        slice_q <= block_end ? '0 : slice_q + 1'b1;
        if (block_end) begin
          full_q[drain_sel_q] <= 1'b0;
          open_q[drain_sel_q] <= 1'b0;
          drain_sel_q <= !drain_sel_q;
        end
      end
    end
  end

endmodule

`default_nettype wire
