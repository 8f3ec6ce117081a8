`default_nettype none

/// Block memories of pim_transpose that turn squares of `Size` x `Size` elements on their side.
///
/// A row is written and a column read in one clock, from `Size` memories an element wide: the
/// element of row r and column c is in memory (r + c) mod `Size`, so that neither a row nor a
/// column needs two of one memory. A column takes three clocks: read, turned by some places, turned
/// by the rest on its way out. Column 0 may be read in the clock that writes the last row; the
/// element of both is kept beside.
module pim_transpose_square #(
  /// Elements of a row; a power of two.
  parameter int unsigned Size = 32,
  /// Squares that there is room for.
  parameter int unsigned Squares = 2
) (
  input  wire logic                       clk_i,
  /// Write a row.
  input  wire logic                       write_i,
  input  wire logic [$clog2(Squares)-1:0] write_square_i,
  input  wire logic [$clog2(Size)-1:0]    write_row_i,
  input  wire logic [Size*16-1:0]         data_i,
  /// Read a column; it goes to the second clock with `step_i`, and is out in the third. Without
  /// `step_i` it was read in vain, and may be of a square that is not complete.
  input  wire logic                       read_i,
  input  wire logic [$clog2(Squares)-1:0] read_square_i,
  input  wire logic [$clog2(Size)-1:0]    read_column_i,
  input  wire logic                       step_i,
  input  wire logic                       out_i,
  output logic      [Size*16-1:0]         data_o
);

  localparam int unsigned RowBits = $clog2(Size);
  localparam logic [RowBits-1:0] Coarse = '1 << (RowBits / 2);

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

  logic [Size*16-1:0] turned, read;

  // Where nothing is written a simulation need not rotate.
  always_comb begin
    turned = 'x;
    if (write_i) turned = rotate(data_i, -write_row_i, '1);
  end

  for (genvar m = 0; m < Size; m++) begin : gen_memory
    localparam logic [RowBits-1:0] Place = RowBits'(m);
    // A column not read in vain has no row that is written in the same clock, but for the element
    // kept beside.
    pim_ram #(
      .Width(16),
      .Depth(Squares * Size)
    ) u_ram (
      .clk_i,
      .write_i,
      .write_index_i({write_square_i, write_row_i}),
      .write_data_i(turned[m*16+:16]),
      .read_i,
      .read_index_i({read_square_i, Place - read_column_i}),
      .read_data_o(read[m*16+:16])
    );
  end

  // The first element of a row written meanwhile: of column 0 in the place of its row.
  logic late_valid_q;
  logic [15:0] late_q;
  logic [RowBits-1:0] late_row_q, column_q, places_q;
  logic [Size*16-1:0] column, half_q;

  always_ff @(posedge clk_i) begin
    if (read_i) begin
      late_valid_q <= write_i && write_square_i == read_square_i;
      late_row_q <= write_row_i;
      late_q <= data_i[15:0];
      column_q <= read_column_i;
    end
    if (step_i) begin
      half_q <= rotate(column, column_q, Coarse);
      places_q <= column_q;
    end
  end

  always_comb begin
    column = read;
    if (late_valid_q) column[32'(late_row_q)*16+:16] = late_q;
  end

  always_comb begin
    data_o = 'x;
    if (out_i) data_o = rotate(half_q, places_q, ~Coarse);
  end

endmodule

`default_nettype wire
