/// Stands in for the DRAM array while the control path is synthesised: registers on every port,
/// no memory. Ports and parameters are those of rtl/pim_dram_sim.sv.
module pim_dram_sim #(
  parameter longint unsigned Capacity = 1,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64
) (
  input  logic                   clk_i,
  input  logic                   read_i,
  input  logic                   read_all_i,
  input  logic [31:0]            read_addr_i,
  output logic [BeatBytes*8-1:0] read_data_o,
  input  logic                   write_i,
  input  logic                   write_all_i,
  input  logic [31:0]            write_addr_i,
  input  logic [BeatBytes*8-1:0] write_data_i
);

  logic [BeatBytes*8-1:0] held_q;
  logic [65:0] address_q;

  always_ff @(posedge clk_i) begin
    address_q <= {read_all_i, write_all_i, read_addr_i, write_addr_i};
    if (write_i) held_q <= write_data_i;
    if (read_i) read_data_o <= held_q ^ (BeatBytes*8)'(address_q);
  end

endmodule
