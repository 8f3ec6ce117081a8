`default_nettype none

/// The device with its DRAM as a block of somebody else's system: AXI and the interrupt, no more.
///
/// Parameters are those of `pim_top`; the SoC sets every one (sim/soc/system.py).
module pim_soc_device #(
    parameter int AllBank = 0,  /// 1: all banks at once; 0: one bank at a time
    parameter int Banks = 16,  /// banks of the channel
    parameter int BankGroups = 4,  /// groups the banks are in
    parameter int RowBytes = 8192,  /// bytes of one row of one bank
    parameter int AtomBytes = 64,  /// bytes of one column access of one bank
    parameter int Rows = 4096,  /// rows of one bank
    parameter int CkRatio = 4,  /// DRAM clocks in one fabric clock
    parameter int Lanes = 32,  /// multiply-add lanes that work in one fabric clock
    parameter int RowsPerBeat = 1,  /// rows of the left operand a beat is multiplied by
    parameter int AccGroups = 16,  /// beats of results the accumulators hold
    parameter int ScalarDepth = 4096,  /// elements of the scalar buffer
    parameter int LaneLatency = 4,  /// clocks between operations on the same accumulators
    parameter int VectorSetup = 0,  /// clocks to set up an element-wise instruction
    parameter int TransposeWays = 1,  /// blocks of a transposed operand that leave in turns
    parameter int NativeLanes = 0,  /// 1: the lanes are DPI calls
    parameter int TckFs = 833333,  /// DRAM clock period in femtoseconds
    // DRAM timing, in DRAM clocks.
    // generated:parameters
    parameter int TRcdRd = 17,
    parameter int TRcdWr = 17,
    parameter int TRp = 17,
    parameter int TRas = 39,
    parameter int TRc = 56,
    parameter int TCcdS = 4,
    parameter int TCcdL = 6,
    parameter int TRrdS = 4,
    parameter int TRrdL = 6,
    parameter int TFaw = 26,
    parameter int TWr = 18,
    parameter int TRtp = 9,
    parameter int TWtrS = 3,
    parameter int TWtrL = 9,
    parameter int TRefi = 9360,
    parameter int TRfc = 420,
    parameter int TXs = 432,
    parameter int TXsdll = 768,
    parameter int TCl = 17,
    parameter int TCwl = 12,
    parameter int TBl = 4
    // end generated
) (
    input  wire logic         clk_i,
    input  wire logic         rst_ni,
    output logic              irq_o,

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

  localparam int BeatBytes = AllBank != 0 ? Banks * AtomBytes : AtomBytes;

  pim_pkg::access_t mem_read, mem_write;
  logic [BeatBytes*8-1:0] mem_read_data, mem_write_data;

  pim_top #(
      .AllBank(AllBank),
      .Banks(Banks),
      .BankGroups(BankGroups),
      .RowBytes(RowBytes),
      .AtomBytes(AtomBytes),
      .Rows(Rows),
      .CkRatio(CkRatio),
      .Lanes(Lanes),
      .RowsPerBeat(RowsPerBeat),
      .AccGroups(AccGroups),
      .ScalarDepth(ScalarDepth),
      .LaneLatency(LaneLatency),
      .VectorSetup(VectorSetup),
      .TransposeWays(TransposeWays),
      .NativeLanes(NativeLanes),
      .TckFs(TckFs),
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
  ) device (
      .clk_i,
      .rst_ni,
      .irq_o,
      .s_axil_awaddr,
      .s_axil_awvalid,
      .s_axil_awready,
      .s_axil_wdata,
      .s_axil_wstrb,
      .s_axil_wvalid,
      .s_axil_wready,
      .s_axil_bresp,
      .s_axil_bvalid,
      .s_axil_bready,
      .s_axil_araddr,
      .s_axil_arvalid,
      .s_axil_arready,
      .s_axil_rdata,
      .s_axil_rresp,
      .s_axil_rvalid,
      .s_axil_rready,
      .m_axi_araddr,
      .m_axi_arlen,
      .m_axi_arsize,
      .m_axi_arburst,
      .m_axi_arvalid,
      .m_axi_arready,
      .m_axi_rdata,
      .m_axi_rresp,
      .m_axi_rlast,
      .m_axi_rvalid,
      .m_axi_rready,
      .m_axi_awaddr,
      .m_axi_awlen,
      .m_axi_awsize,
      .m_axi_awburst,
      .m_axi_awvalid,
      .m_axi_awready,
      .m_axi_wdata,
      .m_axi_wstrb,
      .m_axi_wlast,
      .m_axi_wvalid,
      .m_axi_wready,
      .m_axi_bresp,
      .m_axi_bvalid,
      .m_axi_bready,
      .mem_read_o(mem_read),
      .mem_read_data_i(mem_read_data),
      .mem_write_o(mem_write),
      .mem_write_data_o(mem_write_data),
      // The array follows the data. A soft reset drops bursts: the program resets an idle device.
      .busy_o(),
      .bus_rst_no(),
      .mem_row_cmd_o(),
      .mem_row_all_o(),
      .mem_row_bank_o(),
      .mem_row_row_o(),
      .mem_row_slot_o(),
      .mem_col_cmd_o(),
      .mem_col_all_o(),
      .mem_col_bank_o(),
      .mem_col_row_o(),
      .mem_col_column_o(),
      .mem_col_slot_o(),
      .mem_wake_o(),
      .mem_asleep_o()
  );

  pim_dram_sim #(
      .Capacity(longint'(Banks) * longint'(RowBytes) * longint'(Rows)),
      .AtomBytes(AtomBytes),
      .BeatBytes(BeatBytes)
  ) dram (
      .clk_i,
      .read_i(mem_read.valid),
      .read_all_i(mem_read.all),
      .read_addr_i(mem_read.addr),
      .read_data_o(mem_read_data),
      .write_i(mem_write.valid),
      .write_all_i(mem_write.all),
      .write_addr_i(mem_write.addr),
      .write_data_i(mem_write_data)
  );

endmodule

`default_nettype wire
