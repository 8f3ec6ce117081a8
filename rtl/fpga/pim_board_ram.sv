`default_nettype none

/// The device with block memory for its DRAM: AXI, the interrupt and resets, as a board's top needs them.
///
/// Parameters are those of `pim_top`; choose `Rows` so that the memory fits. Every list takes the
/// clocks of the simulation.
module pim_board_ram #(
  /// 0: per_bank style (operands stream through the channel), 1: all_bank style.
  parameter int unsigned AllBank = 0,
  parameter int unsigned Banks = 16,
  parameter int unsigned BankGroups = 4,
  /// Bytes of one row of one bank; rows of a bank; bytes of one column access of a bank.
  parameter int unsigned RowBytes = 8192,
  parameter int unsigned Rows = 4096,
  parameter int unsigned AtomBytes = 64,
  /// DRAM clocks in a fabric clock.
  parameter int unsigned CkRatio = 4,
  /// Multiply-add lanes that work in one fabric clock.
  parameter int unsigned Lanes = 32,
  /// Rows of the left operand that a beat of the right one is multiplied by: 1, 2, 4 or 8.
  parameter int unsigned RowsPerBeat = 1,
  /// Beats of results the accumulators hold for each of these rows.
  parameter int unsigned AccGroups = 16,
  /// Elements that the scalar buffer holds of each of these rows.
  parameter int unsigned ScalarDepth = 4096,
  /// Fabric clocks between two operations on the same accumulators.
  parameter int unsigned LaneLatency = 4,
  /// Fabric clocks to set up an element-wise vector instruction.
  parameter int unsigned VectorSetup = 0,
  /// Blocks of a transposed operand whose slices leave in turns.
  parameter int unsigned TransposeWays = 1,
  /// AxCACHE of the master: 15 for a coherent port, 3 for one that is not.
  parameter logic [3:0] AxiCache = 4'b1111,
  /// DRAM clock period in femtoseconds.
  parameter int unsigned TckFs = 833333,
  /// DRAM timing in DRAM clocks (defaults: DDR4-2400, JESD79-4).
  // generated:parameters
  parameter int unsigned TRcdRd = 17,
  parameter int unsigned TRcdWr = 17,
  parameter int unsigned TRp = 17,
  parameter int unsigned TRas = 39,
  parameter int unsigned TRc = 56,
  parameter int unsigned TCcdS = 4,
  parameter int unsigned TCcdL = 6,
  parameter int unsigned TRrdS = 4,
  parameter int unsigned TRrdL = 6,
  parameter int unsigned TFaw = 26,
  parameter int unsigned TWr = 18,
  parameter int unsigned TRtp = 9,
  parameter int unsigned TWtrS = 3,
  parameter int unsigned TWtrL = 9,
  parameter int unsigned TRefi = 9360,
  parameter int unsigned TRfc = 420,
  parameter int unsigned TXs = 432,
  parameter int unsigned TXsdll = 768,
  parameter int unsigned TCl = 17,
  parameter int unsigned TCwl = 12,
  parameter int unsigned TBl = 4
  // end generated
) (
  input  wire logic         clk_i,
  input  wire logic         rst_ni,
  /// Level interrupt.
  output logic              irq_o,
  /// A list is running; nothing changes inside while it is low and AXI4-Lite is idle.
  output logic              busy_o,
  /// Reset for the bus side of the AXI master.
  output logic              bus_rst_no,

  input  wire logic [11:0]  s_axil_awaddr,
  input  wire logic         s_axil_awvalid,
  output logic              s_axil_awready,
  input  wire logic [31:0]  s_axil_wdata,
  input  wire logic [3:0]   s_axil_wstrb,
  input  wire logic         s_axil_wvalid,
  output logic              s_axil_wready,
  output logic      [1:0]   s_axil_bresp,
  output logic              s_axil_bvalid,
  input  wire logic         s_axil_bready,
  input  wire logic [11:0]  s_axil_araddr,
  input  wire logic         s_axil_arvalid,
  output logic              s_axil_arready,
  output logic      [31:0]  s_axil_rdata,
  output logic      [1:0]   s_axil_rresp,
  output logic              s_axil_rvalid,
  input  wire logic         s_axil_rready,

  output logic      [63:0]  m_axi_araddr,
  output logic      [7:0]   m_axi_arlen,
  output logic      [2:0]   m_axi_arsize,
  output logic      [1:0]   m_axi_arburst,
  output logic      [3:0]   m_axi_arcache,
  output logic      [2:0]   m_axi_arprot,
  output logic              m_axi_arvalid,
  input  wire logic         m_axi_arready,
  input  wire logic [511:0] m_axi_rdata,
  input  wire logic [1:0]   m_axi_rresp,
  input  wire logic         m_axi_rlast,
  input  wire logic         m_axi_rvalid,
  output logic              m_axi_rready,
  output logic      [63:0]  m_axi_awaddr,
  output logic      [7:0]   m_axi_awlen,
  output logic      [2:0]   m_axi_awsize,
  output logic      [1:0]   m_axi_awburst,
  output logic      [3:0]   m_axi_awcache,
  output logic      [2:0]   m_axi_awprot,
  output logic              m_axi_awvalid,
  input  wire logic         m_axi_awready,
  output logic      [511:0] m_axi_wdata,
  output logic      [63:0]  m_axi_wstrb,
  output logic              m_axi_wlast,
  output logic              m_axi_wvalid,
  input  wire logic         m_axi_wready,
  input  wire logic [1:0]   m_axi_bresp,
  input  wire logic         m_axi_bvalid,
  output logic              m_axi_bready
);

  localparam int unsigned BeatBytes = AllBank != 0 ? Banks * AtomBytes : AtomBytes;

  pim_pkg::access_t mem_read, mem_write;
  logic [BeatBytes*8-1:0] mem_read_data, mem_write_data;

  // Block memory follows the data alone.
  pim_pkg::dram_cmd_e row_cmd, col_cmd;
  logic row_all, col_all, wake, asleep, unused;
  logic [$clog2(Banks)-1:0] row_bank, col_bank;
  logic [$clog2(Rows)-1:0] row_row, col_row;
  logic [$clog2(CkRatio)-1:0] row_slot, col_slot;
  logic [$clog2(RowBytes/AtomBytes)-1:0] col_column;
  assign unused = ^{row_cmd, row_all, row_bank, row_row, row_slot, col_cmd, col_all, col_bank, col_row,
                    col_column, col_slot, wake, asleep};

  assign m_axi_arcache = AxiCache;
  assign m_axi_awcache = AxiCache;
  // Data, not secure, not privileged.
  assign m_axi_arprot = 3'b010;
  assign m_axi_awprot = 3'b010;

  pim_top #(
    .AllBank(AllBank), .Banks(Banks), .BankGroups(BankGroups), .RowBytes(RowBytes), .Rows(Rows),
    .AtomBytes(AtomBytes), .CkRatio(CkRatio), .Lanes(Lanes), .RowsPerBeat(RowsPerBeat),
    .AccGroups(AccGroups), .ScalarDepth(ScalarDepth), .LaneLatency(LaneLatency),
    .VectorSetup(VectorSetup), .TransposeWays(TransposeWays), .TckFs(TckFs),
    // generated:connections
    .TRcdRd(TRcdRd),
    .TRcdWr(TRcdWr),
    .TRp(TRp),
    .TRas(TRas),
    .TRc(TRc),
    .TCcdS(TCcdS),
    .TCcdL(TCcdL),
    .TRrdS(TRrdS),
    .TRrdL(TRrdL),
    .TFaw(TFaw),
    .TWr(TWr),
    .TRtp(TRtp),
    .TWtrS(TWtrS),
    .TWtrL(TWtrL),
    .TRefi(TRefi),
    .TRfc(TRfc),
    .TXs(TXs),
    .TXsdll(TXsdll),
    .TCl(TCl),
    .TCwl(TCwl),
    .TBl(TBl)
    // end generated
  ) u_device (
    .clk_i, .rst_ni, .irq_o, .busy_o, .bus_rst_no, .s_axil_awaddr, .s_axil_awvalid,
    .s_axil_awready, .s_axil_wdata, .s_axil_wstrb, .s_axil_wvalid, .s_axil_wready, .s_axil_bresp,
    .s_axil_bvalid, .s_axil_bready, .s_axil_araddr, .s_axil_arvalid, .s_axil_arready,
    .s_axil_rdata, .s_axil_rresp, .s_axil_rvalid, .s_axil_rready, .m_axi_araddr, .m_axi_arlen,
    .m_axi_arsize, .m_axi_arburst, .m_axi_arvalid, .m_axi_arready, .m_axi_rdata, .m_axi_rresp,
    .m_axi_rlast, .m_axi_rvalid, .m_axi_rready, .m_axi_awaddr, .m_axi_awlen, .m_axi_awsize,
    .m_axi_awburst, .m_axi_awvalid, .m_axi_awready, .m_axi_wdata, .m_axi_wstrb, .m_axi_wlast,
    .m_axi_wvalid, .m_axi_wready, .m_axi_bresp, .m_axi_bvalid, .m_axi_bready,
    .mem_read_o(mem_read), .mem_read_data_i(mem_read_data), .mem_write_o(mem_write),
    .mem_write_data_o(mem_write_data),
    .mem_row_cmd_o(row_cmd), .mem_row_all_o(row_all), .mem_row_bank_o(row_bank),
    .mem_row_row_o(row_row), .mem_row_slot_o(row_slot), .mem_col_cmd_o(col_cmd),
    .mem_col_all_o(col_all), .mem_col_bank_o(col_bank), .mem_col_row_o(col_row),
    .mem_col_column_o(col_column), .mem_col_slot_o(col_slot), .mem_wake_o(wake),
    .mem_asleep_o(asleep)
  );

  pim_memory_ram #(
    .AllBank(AllBank), .Banks(Banks), .RowBytes(RowBytes), .Rows(Rows), .AtomBytes(AtomBytes)
  ) u_memory (
    .clk_i, .read_i(mem_read), .read_data_o(mem_read_data), .write_i(mem_write),
    .write_data_i(mem_write_data)
  );

endmodule

`default_nettype wire
