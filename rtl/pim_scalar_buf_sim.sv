`default_nettype none

/// pim_scalar_buf for fast simulation: the same ports, and the same bits in the same clocks. Not for
/// synthesis.
///
/// One memory of words, read in the clock after an entry was named, when all that was written with it
/// is there.
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

  localparam int unsigned AtomsBits = $clog2(Depth / AtomElems);
  localparam int unsigned PerAtom = AtomElems / 4;  // words of an atom
  localparam logic [AtomsBits-1:0] Mask = AtomsBits'(Parts - 1);

  logic [63:0] memory_q [Depth / 4];
  logic [$clog2(Depth)-1:0] index_q;

  always_ff @(posedge clk_i) index_q <= read_index_i;

  assign read_data_o = memory_q[index_q[$clog2(Depth)-1:2]][32'(index_q[1:0])*16+:16];

  // Word by word: a simulator clears what it keeps of a wide assignment in every clock.
  logic all;
  logic [AtomsBits-1:0] atom;
  assign all = Parts > 1 && write_all_i;
  assign atom = all ? write_index_i & ~Mask : write_index_i;
  always_ff @(posedge clk_i) begin
    if (write_i) begin
      // verilator unroll_disable
      for (int unsigned i = 0; i < (all ? Parts : 1) * PerAtom; i++) begin
        memory_q[($clog2(Depth)-2)'(32'(atom) * PerAtom + i)] <= write_data_i[i*64+:64];
      end
    end
  end

endmodule

`default_nettype wire
