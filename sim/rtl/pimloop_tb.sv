`default_nettype none

/// The simulated board: the device, its DRAM and the memory of its host, with only the register bus,
/// the interrupt and the busy signal as ports, which is all that the device server needs.
///
/// Parameters are those of `pim_top`; the build sets every one (sim/device/config.py).
///
/// `pulse_i` and `pulsed_i` are other ways to give the clock, see pim_pulse_clock_sim.
module pimloop_tb #(
    parameter int AllBank = 0,  /// 1: all banks at once; 0: one bank at a time
    parameter int Banks = 16,  /// banks of the channel
    parameter int BankGroups = 4,  /// groups the banks are in
    parameter int RowBytes = 8192,  /// bytes of one row of one bank
    parameter int AtomBytes = 64,  /// bytes of one column access of one bank
    parameter int Rows = 4096,  /// rows of one bank
    parameter int CkRatio = 4,  /// DRAM clocks in one fabric clock
    parameter int Lanes = 32,  /// multiply-add lanes that work in one fabric clock
    parameter int RowsPerBeat = 1,  /// rows of the left operand a beat is multiplied by
    parameter int AccGroups = 16,  /// beats of results the accumulators hold for each row
    parameter int ScalarDepth = 4096,  /// elements of a row that the scalar buffer holds
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
    input  wire logic        clk_i,
    input  wire logic        pulse_i,
    input  wire logic        pulsed_i,
    input  wire logic        rst_ni,
    input  wire logic [11:0] s_axil_awaddr,
    input  wire logic        s_axil_awvalid,
    output logic             s_axil_awready,
    input  wire logic [31:0] s_axil_wdata,
    input  wire logic  [3:0] s_axil_wstrb,
    input  wire logic        s_axil_wvalid,
    output logic             s_axil_wready,
    output logic       [1:0] s_axil_bresp,
    output logic             s_axil_bvalid,
    input  wire logic        s_axil_bready,
    input  wire logic [11:0] s_axil_araddr,
    input  wire logic        s_axil_arvalid,
    output logic             s_axil_arready,
    output logic      [31:0] s_axil_rdata,
    output logic       [1:0] s_axil_rresp,
    output logic             s_axil_rvalid,
    input  wire logic        s_axil_rready,
    output logic             irq_o,
    output logic             busy_o
);

  logic clk;
  pim_pulse_clock_sim u_clock (.clk_i, .pulse_i, .pulsed_i, .clk_o(clk));

  localparam int BeatBytes = AllBank != 0 ? Banks * AtomBytes : AtomBytes;

  logic [ 63:0]  m_axi_araddr;
  logic [  7:0]  m_axi_arlen;
  logic [  2:0]  m_axi_arsize;
  logic [  1:0]  m_axi_arburst;
  logic         m_axi_arvalid;
  logic         m_axi_arready;
  logic [511:0]  m_axi_rdata;
  logic [  1:0]  m_axi_rresp;
  logic         m_axi_rlast;
  logic         m_axi_rvalid;
  logic         m_axi_rready;
  logic [ 63:0]  m_axi_awaddr;
  logic [  7:0]  m_axi_awlen;
  logic [  2:0]  m_axi_awsize;
  logic [  1:0]  m_axi_awburst;
  logic         m_axi_awvalid;
  logic         m_axi_awready;
  logic [511:0]  m_axi_wdata;
  logic [ 63:0]  m_axi_wstrb;
  logic         m_axi_wlast;
  logic         m_axi_wvalid;
  logic         m_axi_wready;
  logic [  1:0]  m_axi_bresp;
  logic         m_axi_bvalid;
  logic         m_axi_bready;
  logic         bus_rst_n;  // low while a soft reset drops what is on the bus

  pim_pkg::dram_cmd_e mem_row_cmd, mem_col_cmd;
  logic mem_row_all, mem_col_all, mem_wake, mem_asleep;
  logic [$clog2(Banks)-1:0] mem_row_bank, mem_col_bank;
  logic [$clog2(Rows)-1:0] mem_row_row, mem_col_row;
  logic [$clog2(CkRatio)-1:0] mem_row_slot, mem_col_slot;
  logic [$clog2(RowBytes/AtomBytes)-1:0] mem_col_column;
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
  ) dut (
      .clk_i(clk),
      .rst_ni,
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
      .irq_o,
      .busy_o,
      .bus_rst_no(bus_rst_n),
      .mem_row_cmd_o(mem_row_cmd),
      .mem_row_all_o(mem_row_all),
      .mem_row_bank_o(mem_row_bank),
      .mem_row_row_o(mem_row_row),
      .mem_row_slot_o(mem_row_slot),
      .mem_col_cmd_o(mem_col_cmd),
      .mem_col_all_o(mem_col_all),
      .mem_col_bank_o(mem_col_bank),
      .mem_col_row_o(mem_col_row),
      .mem_col_column_o(mem_col_column),
      .mem_col_slot_o(mem_col_slot),
      .mem_wake_o(mem_wake),
      .mem_asleep_o(mem_asleep),
      .mem_read_o(mem_read),
      .mem_read_data_i(mem_read_data),
      .mem_write_o(mem_write),
      .mem_write_data_o(mem_write_data)
  );

  pim_hostmem_sim hostmem (
      .clk_i(clk),
      .rst_ni(rst_ni && bus_rst_n),
      .busy_i(busy_o),
      .s_axi_araddr(m_axi_araddr),
      .s_axi_arlen(m_axi_arlen),
      .s_axi_arsize(m_axi_arsize),
      .s_axi_arburst(m_axi_arburst),
      .s_axi_arvalid(m_axi_arvalid),
      .s_axi_arready(m_axi_arready),
      .s_axi_rdata(m_axi_rdata),
      .s_axi_rresp(m_axi_rresp),
      .s_axi_rlast(m_axi_rlast),
      .s_axi_rvalid(m_axi_rvalid),
      .s_axi_rready(m_axi_rready),
      .s_axi_awaddr(m_axi_awaddr),
      .s_axi_awlen(m_axi_awlen),
      .s_axi_awsize(m_axi_awsize),
      .s_axi_awburst(m_axi_awburst),
      .s_axi_awvalid(m_axi_awvalid),
      .s_axi_awready(m_axi_awready),
      .s_axi_wdata(m_axi_wdata),
      .s_axi_wstrb(m_axi_wstrb),
      .s_axi_wlast(m_axi_wlast),
      .s_axi_wvalid(m_axi_wvalid),
      .s_axi_wready(m_axi_wready),
      .s_axi_bresp(m_axi_bresp),
      .s_axi_bvalid(m_axi_bvalid),
      .s_axi_bready(m_axi_bready)
  );

  pim_dram_sim #(
      .Capacity(longint'(Banks) * longint'(RowBytes) * longint'(Rows)),
      .AtomBytes(AtomBytes),
      .BeatBytes(BeatBytes)
  ) dram (
      .clk_i(clk),
      .read_i(mem_read.valid),
      .read_all_i(mem_read.all),
      .read_addr_i(mem_read.addr),
      .read_data_o(mem_read_data),
      .write_i(mem_write.valid),
      .write_all_i(mem_write.all),
      .write_addr_i(mem_write.addr),
      .write_data_i(mem_write_data)
  );

  pim_command_trace_sim #(
      .Banks(Banks),
      .Rows(Rows),
      .Columns(RowBytes / AtomBytes),
      .CkRatio(CkRatio)
  ) command_trace (
      .clk_i(clk),
      .rst_ni(bus_rst_n),
      .wake_i(mem_wake),
      .asleep_i(mem_asleep),
      .col_cmd_i(mem_col_cmd),
      .row_cmd_i(mem_row_cmd),
      .col_all_i(mem_col_all),
      .row_all_i(mem_row_all),
      .col_bank_i(mem_col_bank),
      .row_bank_i(mem_row_bank),
      .col_slot_i(mem_col_slot),
      .row_slot_i(mem_row_slot),
      .row_row_i(mem_row_row),
      .col_row_i(mem_col_row),
      .col_column_i(mem_col_column)
  );

endmodule

`default_nettype wire
