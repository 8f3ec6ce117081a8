`default_nettype none

/// Scalar buffer: a row of the left operand, or a column to broadcast, as single bfloat16.
///
/// Written an atom at a time, read an element at a time; both take effect at the clock edge, a
/// read of a word written in the same clock gives the old one.
module pim_scalar_buf #(
  /// Elements; a multiple of AtomElems.
  parameter int unsigned Depth = 4096,
  /// Elements of an atom; a power of two.
  parameter int unsigned AtomElems = 32
) (
  input  wire logic                               clk_i,
  input  wire logic                               write_i,
  input  wire logic [$clog2(Depth/AtomElems)-1:0] write_index_i,
  input  wire logic [AtomElems*16-1:0]            write_data_i,
  input  wire logic [$clog2(Depth)-1:0]           read_index_i,
  /// Combinational.
  output logic      [15:0]                        read_data_o
);

  localparam int unsigned ElemBits = $clog2(AtomElems);

  if (AtomElems < 2 || (AtomElems & (AtomElems - 1)) != 0 || Depth % AtomElems != 0)
  begin : gen_check
    $error("%m: AtomElems must be a power of two that divides Depth");
  end

  logic [AtomElems*16-1:0] memory_q [Depth/AtomElems];

  assign read_data_o =
      memory_q[read_index_i[$clog2(Depth)-1:ElemBits]][32'(read_index_i[ElemBits-1:0])*16+:16];

  always_ff @(posedge clk_i) begin
    if (write_i) memory_q[write_index_i] <= write_data_i;
  end

endmodule

`default_nettype wire
