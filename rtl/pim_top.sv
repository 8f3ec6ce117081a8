`default_nettype none

/// The PIM device: a DRAM channel with compute beside the banks, behind AXI.
///
/// The host writes a list of descriptors to its memory and rings the doorbell (AXI4-Lite); the
/// device fetches them (AXI4 master), moves data, computes, writes a status word to each and
/// raises the interrupt. Blocks, registers, descriptors and timing: README.md.
///
/// The DRAM is outside, at the memory port: an array of bytes in simulation (sim/rtl), a PHY or block
/// memories on a board.
///
/// One clock is one clock of the memory controller's fabric, `CkRatio` DRAM clocks. The bus on
/// the AXI master's side must be reset with `bus_rst_no`, because a soft reset drops bursts.
module pim_top #(
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
  /// 1: the lanes are DPI code with the same bits.
  parameter int unsigned NativeLanes = 0,
  /// 1: registers stand in for the lanes, to synthesise the control path alone.
  parameter bit ControlOnly = 1'b0,
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
  output logic              m_axi_bready,

  /// Memory port: the commands of the DRAM channel, at most one of each kind a clock, and the data
  /// of its accesses. After a reset (`bus_rst_no`) no row is open, and the channel is in
  /// self-refresh.
  output      pim_pkg::dram_cmd_e                      mem_row_cmd_o,
  /// The command is for every bank.
  output logic                                         mem_row_all_o,
  output logic      [$clog2(Banks)-1:0]                mem_row_bank_o,
  output logic      [$clog2(Rows)-1:0]                 mem_row_row_o,
  /// DRAM clock of the fabric clock in which the command leaves.
  output logic      [$clog2(CkRatio)-1:0]              mem_row_slot_o,
  output      pim_pkg::dram_cmd_e                      mem_col_cmd_o,
  output logic                                         mem_col_all_o,
  output logic      [$clog2(Banks)-1:0]                mem_col_bank_o,
  /// The row that is open there, for who follows the commands.
  output logic      [$clog2(Rows)-1:0]                 mem_col_row_o,
  output logic      [$clog2(RowBytes/AtomBytes)-1:0]   mem_col_column_o,
  output logic      [$clog2(CkRatio)-1:0]              mem_col_slot_o,
  /// Self-refresh ends in this clock; it has not ended yet.
  output logic                                         mem_wake_o,
  output logic                                         mem_asleep_o,
  /// The burst of a RD has ended (TCl + TBl DRAM clocks after it): its data are wanted on
  /// `mem_read_data_i` in the next clock, an atom or, with `all`, a beat, from byte `addr` on.
  output      pim_pkg::access_t                        mem_read_o,
  input  wire logic [(AllBank*(Banks-1)+1)*AtomBytes*8-1:0] mem_read_data_i,
  /// The burst of a WR: its data are on `mem_write_data_o` in this clock.
  output      pim_pkg::access_t                        mem_write_o,
  output logic      [(AllBank*(Banks-1)+1)*AtomBytes*8-1:0] mem_write_data_o
);

  localparam int unsigned BeatBytes = AllBank != 0 ? Banks * AtomBytes : AtomBytes;
  localparam int unsigned ColumnBits = $clog2(RowBytes / AtomBytes);

  localparam pim_blocks_pkg::geometry_t Geometry = '{
      all_bank: AllBank != 0, native_lanes: NativeLanes != 0, control_only: ControlOnly,
      banks: Banks, bank_groups: BankGroups, row_bytes: RowBytes, rows: Rows,
      atom_bytes: AtomBytes, beat_bytes: BeatBytes, ck_ratio: CkRatio, lanes: Lanes,
      rows_per_beat: RowsPerBeat, acc_groups: AccGroups, scalar_depth: ScalarDepth,
      lane_latency: LaneLatency, vector_setup: VectorSetup, transpose_ways: TransposeWays,
      tck_fs: TckFs};

  // generated:timing
  localparam pim_pkg::timing_t Timing = '{
      rcd_rd: 16'(TRcdRd), rcd_wr: 16'(TRcdWr), rp: 16'(TRp), ras: 16'(TRas), rc: 16'(TRc),
      ccd_s: 16'(TCcdS), ccd_l: 16'(TCcdL), rrd_s: 16'(TRrdS), rrd_l: 16'(TRrdL), faw: 16'(TFaw),
      wr: 16'(TWr), rtp: 16'(TRtp), wtr_s: 16'(TWtrS), wtr_l: 16'(TWtrL), refi: 16'(TRefi),
      rfc: 16'(TRfc), xs: 16'(TXs), xsdll: 16'(TXsdll), cl: 16'(TCl), cwl: 16'(TCwl), bl: 16'(TBl)};
  // end generated

  pim_conditions #(
    // generated:conditions
    .AllBank(longint'(AllBank)), .Banks(longint'(Banks)), .BankGroups(longint'(BankGroups)),
    .RowBytes(longint'(RowBytes)), .Rows(longint'(Rows)), .AtomBytes(longint'(AtomBytes)),
    .CkRatio(longint'(CkRatio)), .Lanes(longint'(Lanes)), .RowsPerBeat(longint'(RowsPerBeat)),
    .AccGroups(longint'(AccGroups)), .ScalarDepth(longint'(ScalarDepth)),
    .LaneLatency(longint'(LaneLatency)), .VectorSetup(longint'(VectorSetup)),
    .TransposeWays(longint'(TransposeWays)), .NativeLanes(longint'(NativeLanes)),
    .TckFs(longint'(TckFs)), .TRcdRd(longint'(TRcdRd)), .TRcdWr(longint'(TRcdWr)),
    .TRp(longint'(TRp)), .TRas(longint'(TRas)), .TRc(longint'(TRc)), .TCcdS(longint'(TCcdS)),
    .TCcdL(longint'(TCcdL)), .TRrdS(longint'(TRrdS)), .TRrdL(longint'(TRrdL)),
    .TFaw(longint'(TFaw)), .TWr(longint'(TWr)), .TRtp(longint'(TRtp)), .TWtrS(longint'(TWtrS)),
    .TWtrL(longint'(TWtrL)), .TRefi(longint'(TRefi)), .TRfc(longint'(TRfc)), .TXs(longint'(TXs)),
    .TXsdll(longint'(TXsdll)), .TCl(longint'(TCl)), .TCwl(longint'(TCwl)), .TBl(longint'(TBl))
    // end generated
  ) u_conditions ();

  logic soft_reset, core_rst_nq, clk_host;

  always_ff @(posedge clk_i) core_rst_nq <= rst_ni && !soft_reset;

  assign bus_rst_no = core_rst_nq;

  pim_isa_pkg::descriptor_t desc;
  pim_blocks_pkg::work_t work;
  pim_blocks_pkg::done_t done;
  pim_blocks_pkg::dma_ask_t dma_ask;
  pim_blocks_pkg::dma_state_t dma_state;
  pim_pkg::job_t dma_job;
  logic [511:0] wr_data, rd_data;
  pim_blocks_pkg::control_t control;
  logic [pim_isa_pkg::Counters-1:0][63:0] totals;
  logic [pim_isa_pkg::Counters-1:0][31:0] captured;
  logic [63:0] captured_cycles;
  pim_blocks_pkg::engine_state_t engine_state;
  pim_blocks_pkg::channel_state_t channel_state;
  pim_pkg::span_t span;
  pim_pkg::access_t write;
  pim_blocks_pkg::command_t row_command, col_command;

  pim_front #(
    .Geometry(Geometry)
  ) u_front (
    .clk_i,
    .rst_ni,
    .core_rst_ni(core_rst_nq),
    .soft_reset_o(soft_reset),
    .clk_host_o(clk_host),
    .irq_o,
    .busy_o,
    .desc_o(desc),
    .work_o(work),
    .done_i(done),
    .dma_i(dma_ask),
    .dma_job_i(dma_job),
    .wr_data_i(wr_data),
    .dma_o(dma_state),
    .rd_data_o(rd_data),
    .control_o(control),
    .asleep_i(mem_asleep_o),
    .totals_i(totals),
    .captured_i(captured),
    .captured_cycles_i(captured_cycles),
    .s_axil_awaddr, .s_axil_awvalid, .s_axil_awready,
    .s_axil_wdata, .s_axil_wstrb, .s_axil_wvalid, .s_axil_wready,
    .s_axil_bresp, .s_axil_bvalid, .s_axil_bready,
    .s_axil_araddr, .s_axil_arvalid, .s_axil_arready,
    .s_axil_rdata, .s_axil_rresp, .s_axil_rvalid, .s_axil_rready,
    .m_axi_araddr, .m_axi_arlen, .m_axi_arsize, .m_axi_arburst, .m_axi_arvalid, .m_axi_arready,
    .m_axi_rdata, .m_axi_rresp, .m_axi_rlast, .m_axi_rvalid, .m_axi_rready,
    .m_axi_awaddr, .m_axi_awlen, .m_axi_awsize, .m_axi_awburst, .m_axi_awvalid, .m_axi_awready,
    .m_axi_wdata, .m_axi_wstrb, .m_axi_wlast, .m_axi_wvalid, .m_axi_wready,
    .m_axi_bresp, .m_axi_bvalid, .m_axi_bready
  );

  pim_engine #(
    .Geometry(Geometry)
  ) u_engine (
    .clk_i,
    .clk_host_i(clk_host),
    .rst_ni(core_rst_nq),
    .desc_i(desc),
    .work_i(work),
    .done_o(done),
    .dma_o(dma_ask),
    .dma_job_o(dma_job),
    .wr_data_o(wr_data),
    .dma_i(dma_state),
    .rd_data_i(rd_data),
    .state_o(engine_state),
    .span_o(span),
    .channel_i(channel_state),
    .read_i(mem_read_o),
    .write_i(write),
    .read_data_i(mem_read_data_i),
    .write_o(mem_write_o),
    .write_data_o(mem_write_data_o)
  );

  pim_channel #(
    .Geometry(Geometry),
    .Timing(Timing)
  ) u_channel (
    .clk_i,
    .rst_ni(core_rst_nq),
    .control_i(control),
    .asleep_o(mem_asleep_o),
    .totals_o(totals),
    .captured_o(captured),
    .captured_cycles_o(captured_cycles),
    .engine_i(engine_state),
    .span_i(span),
    .state_o(channel_state),
    .read_o(mem_read_o),
    .write_o(write),
    .row_command_o(row_command),
    .col_command_o(col_command)
  );

  // ---- memory port ----------------------------------------------------------------------
  assign mem_row_cmd_o = row_command.cmd;
  assign mem_row_all_o = row_command.all;
  assign mem_row_bank_o = row_command.bank[$clog2(Banks)-1:0];
  assign mem_row_row_o = row_command.row[$clog2(Rows)-1:0];
  assign mem_row_slot_o = row_command.slot[$clog2(CkRatio)-1:0];
  assign mem_col_cmd_o = col_command.cmd;
  assign mem_col_all_o = col_command.all;
  assign mem_col_bank_o = col_command.bank[$clog2(Banks)-1:0];
  assign mem_col_row_o = col_command.row[$clog2(Rows)-1:0];
  assign mem_col_column_o = col_command.column[ColumnBits-1:0];
  assign mem_col_slot_o = col_command.slot[$clog2(CkRatio)-1:0];
  assign mem_wake_o = control.wake;

  // The port of this device is narrower than that of the largest.
  logic unused;
  assign unused = ^{row_command, col_command};

endmodule

`default_nettype wire
