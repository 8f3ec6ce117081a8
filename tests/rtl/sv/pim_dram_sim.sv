`default_nettype none

/// The memory of an FPGA in the place of the simulated array, by the array's name and ports.
///
/// A byte of it that was never written holds no defined value; the simulated array's are 0.
module pim_dram_sim #(
  parameter longint unsigned Capacity = 2 * 1024 * 1024,
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

  localparam int unsigned Banks = BeatBytes == AtomBytes ? 1 : BeatBytes / AtomBytes;

  pim_memory_ram #(
    .AllBank(BeatBytes == AtomBytes ? 0 : 1),
    .Banks(Banks),
    .RowBytes(AtomBytes),
    .Rows(32'(Capacity) / AtomBytes / Banks),
    .AtomBytes(AtomBytes)
  ) u_memory (
    .clk_i,
    .read_i('{valid: read_i, addr: read_addr_i, all: read_all_i, kind: pim_pkg::KindCopyOut,
              row: '0, step_end: 1'b0, last: 1'b0}),
    .read_data_o,
    .write_i('{valid: write_i, addr: write_addr_i, all: write_all_i, kind: pim_pkg::KindCopyIn,
               row: '0, step_end: 1'b0, last: 1'b0}),
    .write_data_i
  );

endmodule

`default_nettype wire
