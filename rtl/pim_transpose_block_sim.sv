`default_nettype none

/// The memories of pim_transpose for fast simulation: what `Copies` pim_transpose_square have between
/// them, with the same bits in the same clocks. Not for synthesis.
///
/// One memory a beat wide in place of a memory for each element of a beat: these make the code of a
/// simulator large, slow to build, and dear in each clock. Rows are kept as they come; a column is
/// put together where pim_transpose_square turns it by some places, in the clock after the read. What
/// has been written by then is seen: of a column not read in vain all rows are there, and none is
/// written again before it has left.
module pim_transpose_block_sim #(
  /// Elements of a row; a power of two.
  parameter int unsigned Size = 32,
  /// Squares side by side.
  parameter int unsigned Copies = 1,
  /// Squares that there is room for in each of these.
  parameter int unsigned Squares = 2
) (
  input  wire logic                       clk_i,
  /// Write a row of each square, or of this one alone from the low bits of the data.
  input  wire logic                       write_i,
  input  wire logic                       write_all_i,
  input  wire logic [(Copies > 1 ? $clog2(Copies) : 1)-1:0] write_copy_i,
  input  wire logic [$clog2(Squares)-1:0] write_square_i,
  input  wire logic [$clog2(Size)-1:0]    write_row_i,
  input  wire logic [Copies*Size*16-1:0]  data_i,
  /// Read a column; it is put together with `step_i` in the next clock, and out in the one after that.
  /// Without `step_i` it was read in vain.
  input  wire logic                       read_i,
  input  wire logic [$clog2(Squares)-1:0] read_square_i,
  input  wire logic [$clog2(Size)-1:0]    read_column_i,
  input  wire logic                       step_i,
  /// Elements of the same row side by side.
  output logic      [Copies*Size*16-1:0]  data_o
);

  localparam int unsigned RowBits = $clog2(Size);
  typedef logic [Copies*Size*16-1:0] beat_t;

  beat_t memory_q [Squares*Size];
  logic [$clog2(Squares)-1:0] square_q;
  logic [RowBits-1:0] column_q;

  function automatic beat_t column();
    // A loop in the code of a simulator too, which else has a line for each element.
    /*verilator unroll_disable*/
    for (int unsigned r = 0; r < Size; r++) begin
      for (int unsigned c = 0; c < Copies; c++) begin
        column[(r*Copies+c)*16+:16] =
            memory_q[{square_q, RowBits'(r)}][(c*Size+32'(column_q))*16+:16];
      end
    end
  endfunction

  if (Copies == 1) begin : gen_one
    always_ff @(posedge clk_i) begin
      if (write_i) memory_q[{write_square_i, write_row_i}] <= data_i;
    end
    logic unused;
    assign unused = write_all_i | write_copy_i;
  end else begin : gen_many
    always_ff @(posedge clk_i) begin
      if (write_i && write_all_i) memory_q[{write_square_i, write_row_i}] <= data_i;
      else if (write_i) begin
        memory_q[{write_square_i, write_row_i}][32'(write_copy_i)*Size*16+:Size*16] <=
            data_i[Size*16-1:0];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (read_i) begin
      square_q <= read_square_i;
      column_q <= read_column_i;
    end
    if (step_i) data_o <= column();
  end

endmodule

`default_nettype wire
