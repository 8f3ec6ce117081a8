`default_nettype none

/// Memory with one port that writes and one that reads.
///
/// A word written in a clock can be read from the next clock on. What a read of the word that is written in
/// the same clock gives is not defined: who uses it forwards the data, or never does that. No reset: a
/// word holds no defined value before it is written.
module pim_ram #(
  /// Bits of a word; words.
  parameter int unsigned Width = 32,
  parameter int unsigned Depth = 16,
  /// 1: what is read is there in the next clock and stays until the next read, as block memory has it;
  /// 0: in the same clock, as distributed memory has it, and `read_i` says nothing.
  parameter bit Registered = 1'b1
) (
  input  wire logic                     clk_i,
  input  wire logic                     write_i,
  input  wire logic [$clog2(Depth)-1:0] write_index_i,
  input  wire logic [Width-1:0]         write_data_i,
  input  wire logic                     read_i,
  input  wire logic [$clog2(Depth)-1:0] read_index_i,
  output logic      [Width-1:0]         read_data_o
);
  /*verilator inline_module*/

  if (Depth < 2) begin : gen_check
    $error("%m: Depth must be at least 2");
  end

  if (Registered) begin : gen_block
    (* ram_style = "block", no_rw_check *)
    logic [Width-1:0] memory_q [Depth];

    always_ff @(posedge clk_i) begin
      if (write_i) memory_q[write_index_i] <= write_data_i;
    end

    always_ff @(posedge clk_i) begin
      if (read_i) read_data_o <= memory_q[read_index_i];
    end
  end else begin : gen_distributed
    (* ram_style = "distributed" *)
    logic [Width-1:0] memory_q [Depth];

    always_ff @(posedge clk_i) begin
      if (write_i) memory_q[write_index_i] <= write_data_i;
    end

    assign read_data_o = memory_q[read_index_i];

    logic unused;
    assign unused = read_i;
  end

endmodule

`default_nettype wire
