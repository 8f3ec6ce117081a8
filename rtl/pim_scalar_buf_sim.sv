`default_nettype none

/// pim_scalar_buf for fast simulation: the same ports, and the same bits in the same clocks. Not for
/// synthesis.
///
/// One memory as wide as what is written at once, read in the clock after an entry was named, when all
/// that was written with it is there.
module pim_scalar_buf_sim #(
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

  localparam int unsigned Lines = Depth / AtomElems / Parts;
  localparam int unsigned Elems = Parts * AtomElems;
  localparam int unsigned ElemBits = $clog2(Elems);

  logic [Elems*16-1:0] memory_q [Lines];
  logic [$clog2(Depth)-1:0] index_q;

  always_ff @(posedge clk_i) index_q <= read_index_i;

  assign read_data_o = memory_q[index_q[$clog2(Depth)-1:ElemBits]][32'(index_q[ElemBits-1:0])*16+:16];

  if (Parts == 1) begin : gen_one
    always_ff @(posedge clk_i) if (write_i) memory_q[write_index_i] <= write_data_i;
    logic unused;
    assign unused = write_all_i;
  end else begin : gen_many
    localparam int unsigned PartBits = $clog2(Parts);
    logic [$clog2(Lines)-1:0] line;
    assign line = write_index_i[$clog2(Depth/AtomElems)-1:PartBits];
    always_ff @(posedge clk_i) begin
      if (write_i && write_all_i) memory_q[line] <= write_data_i;
      else if (write_i) begin
        memory_q[line][32'(write_index_i[PartBits-1:0])*AtomElems*16+:AtomElems*16] <=
            write_data_i[AtomElems*16-1:0];
      end
    end
  end

endmodule

`default_nettype wire
