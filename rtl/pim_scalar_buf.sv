`default_nettype none

/// Scalar buffer: a row of the left operand, or a column to broadcast, as single bfloat16.
///
/// Written an atom at a time, or `Parts` of them that follow each other; read an element at a time,
/// in block memories: the entry named in a clock is there in the next one. A read of what is written
/// in the same clock gives the new data. An atom is read when the entry lies in another one than the
/// last, or when it was written meanwhile.
module pim_scalar_buf #(
  /// Elements; a multiple of those of the atoms that can be written at once.
  parameter int unsigned Depth = 4096,
  /// Elements of an atom; a power of two.
  parameter int unsigned AtomElems = 32,
  /// Atoms that can be written at once; a power of two.
  parameter int unsigned Parts = 1
) (
  input  wire logic                               clk_i,
  input  wire logic                               write_i,
  /// All atoms of the data, to this index, a multiple of `Parts`, and those behind it.
  input  wire logic                               write_all_i,
  input  wire logic [$clog2(Depth/AtomElems)-1:0] write_index_i,
  input  wire logic [Parts*AtomElems*16-1:0]      write_data_i,
  /// Entry wanted in the next clock.
  input  wire logic [$clog2(Depth)-1:0]           read_index_i,
  /// The entry named one clock ago.
  output logic      [15:0]                        read_data_o
);

  localparam int unsigned ElemBits = $clog2(AtomElems);
  localparam int unsigned AtomBits = $clog2(Depth / AtomElems);
  localparam int unsigned LineBits = $clog2(Depth / AtomElems / Parts);
  localparam int unsigned PartBits = Parts > 1 ? $clog2(Parts) : 1;

  if (AtomElems < 2 || (AtomElems & (AtomElems - 1)) != 0 || (Parts & (Parts - 1)) != 0 ||
      Depth % (AtomElems * Parts) != 0 || Depth <= AtomElems * Parts) begin : gen_check
    $error("%m: AtomElems and Parts must be powers of two whose product divides Depth");
  end

  typedef logic [AtomBits-1:0] atom_t;
  typedef logic [LineBits-1:0] line_t;
  typedef logic [PartBits-1:0] part_t;
  typedef logic [ElemBits-1:0] element_t;

  atom_t atom, atom_q;             // wanted; the one in `data`
  element_t element, element_q;
  logic [Parts-1:0][AtomElems*16-1:0] data;
  logic [AtomElems*16-1:0] atom_data;  // of the one named one clock ago
  logic reads, collides, collided_q;
  logic [Parts-1:0][AtomElems*16-1:0] late_q;  // written one clock ago, to each part's atom

  // Atoms that follow each other are in different memories.
  function automatic line_t line_of(atom_t index);
    return line_t'(index >> $clog2(Parts));
  endfunction

  function automatic part_t part_of(atom_t index);
    return Parts > 1 ? index[PartBits-1:0] : '0;
  endfunction

  assign atom = read_index_i[$clog2(Depth)-1:ElemBits];
  assign element = read_index_i[ElemBits-1:0];
  assign reads = atom != atom_q || collided_q;
  assign collides = write_i && (write_all_i ? line_of(write_index_i) == line_of(atom)
                                            : write_index_i == atom);
  assign atom_data = collided_q ? late_q[part_of(atom_q)] : data[part_of(atom_q)];
  assign read_data_o = atom_data[32'(element_q)*16+:16];

  // What is read and written in one clock comes from `late_q`, which does not depend on what is read:
  // the entry that is wanted is known late.
  for (genvar p = 0; p < Parts; p++) begin : gen_part
    localparam part_t Part = part_t'(p);
    logic [AtomElems*16-1:0] part_data;
    assign part_data = write_all_i ? write_data_i[p*AtomElems*16+:AtomElems*16]
                                   : write_data_i[AtomElems*16-1:0];

    pim_ram #(
      .Width(AtomElems * 16),
      .Depth(Depth / AtomElems / Parts)
    ) u_ram (
      .clk_i,
      .write_i(write_i && (write_all_i || part_of(write_index_i) == Part)),
      .write_index_i(line_of(write_index_i)),
      .write_data_i(part_data),
      .read_i(reads && part_of(atom) == Part),
      .read_index_i(line_of(atom)),
      .read_data_o(data[p])
    );

    always_ff @(posedge clk_i) begin
      if (write_i) late_q[p] <= part_data;
    end
  end

  // No reset: the atom read first is the one wanted, or what nobody has written.
  always_ff @(posedge clk_i) begin
    atom_q <= atom;
    element_q <= element;
    collided_q <= collides;
  end

endmodule

`default_nettype wire
