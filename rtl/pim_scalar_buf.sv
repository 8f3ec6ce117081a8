`default_nettype none

/// Scalar buffer: a row of the left operand, or a column to broadcast, as single bfloat16.
///
/// Written an atom at a time, read an element at a time, in block memory: the entry named in a clock
/// is there in the next one. A read of what is written in the same clock gives the new data. An atom
/// is read when the entry lies in another one than the last, or when it was written meanwhile.
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
  /// Entry wanted in the next clock.
  input  wire logic [$clog2(Depth)-1:0]           read_index_i,
  /// The entry named one clock ago.
  output logic      [15:0]                        read_data_o
);

  localparam int unsigned ElemBits = $clog2(AtomElems);
  localparam int unsigned AtomBits = $clog2(Depth / AtomElems);

  if (AtomElems < 2 || (AtomElems & (AtomElems - 1)) != 0 || Depth % AtomElems != 0)
  begin : gen_check
    $error("%m: AtomElems must be a power of two that divides Depth");
  end

  typedef logic [AtomBits-1:0] atom_t;
  typedef logic [ElemBits-1:0] element_t;

  atom_t atom, atom_q;             // wanted; the one in `data`
  element_t element, element_q;
  logic [AtomElems*16-1:0] data;
  logic collides, collided_q;
  logic [15:0] late_q;

  assign atom = read_index_i[$clog2(Depth)-1:ElemBits];
  assign element = read_index_i[ElemBits-1:0];
  assign collides = write_i && write_index_i == atom;
  assign read_data_o = collided_q ? late_q : data[32'(element_q)*16+:16];

  // What is read and written in one clock comes from `late_q`.
  pim_ram #(
    .Width(AtomElems * 16),
    .Depth(Depth / AtomElems)
  ) u_ram (
    .clk_i,
    .write_i,
    .write_index_i,
    .write_data_i,
    .read_i(atom != atom_q || collided_q),
    .read_index_i(atom),
    .read_data_o(data)
  );

  // No reset: the atom read first is the one wanted, or what nobody has written.
  always_ff @(posedge clk_i) begin
    atom_q <= atom;
    element_q <= element;
    collided_q <= collides;
    if (collides) late_q <= write_data_i[32'(element)*16+:16];
  end

endmodule

`default_nettype wire
