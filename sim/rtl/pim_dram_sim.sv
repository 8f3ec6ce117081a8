`default_nettype none

/// The DRAM array in simulation: the bytes behind the timing model, in memory of the simulator.
///
/// Byte addresses are linear; a beat of all banks is contiguous. Reads are registered: data
/// follow their strobe by one clock. Reads and writes of one clock see the memory before it.
module pim_dram_sim #(
  /// Bytes of the array.
  parameter longint unsigned Capacity = 512 * 1024 * 1024,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64
) (
  input  wire logic                   clk_i,
  input  wire logic                   read_i,
  input  wire logic                   read_all_i,
  input  wire logic [31:0]            read_addr_i,
  output logic      [BeatBytes*8-1:0] read_data_o,
  input  wire logic                   write_i,
  input  wire logic                   write_all_i,
  input  wire logic [31:0]            write_addr_i,
  input  wire logic [BeatBytes*8-1:0] write_data_i
);

  import "DPI-C" function chandle pim_dram_new(input longint unsigned bytes);
  import "DPI-C" function void pim_dram_read(
    input chandle h, input longint unsigned address, input int unsigned bytes,
    output bit [BeatBytes*8-1:0] data);
  import "DPI-C" function void pim_dram_write(
    input chandle h, input longint unsigned address, input int unsigned bytes,
    input bit [BeatBytes*8-1:0] data);

  chandle array;

  initial array = pim_dram_new(Capacity);

  // A DPI output is assigned at once; the register must change with all others.
  logic [BeatBytes*8-1:0] read_data;

  always_ff @(posedge clk_i) begin
    if (read_i) begin
      pim_dram_read(array, 64'(read_addr_i), read_all_i ? BeatBytes : AtomBytes, read_data);
      read_data_o <= read_data;
    end
    if (write_i) begin
      pim_dram_write(array, 64'(write_addr_i), write_all_i ? BeatBytes : AtomBytes, write_data_i);
    end
  end

endmodule

`default_nettype wire
