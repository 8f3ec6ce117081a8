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
  /// Beats of results the accumulators hold.
  parameter int unsigned AccGroups = 16,
  /// Elements of the scalar buffer.
  parameter int unsigned ScalarDepth = 4096,
  /// Fabric clocks between two operations on the same accumulators.
  parameter int unsigned LaneLatency = 4,
  /// Fabric clocks to set up an element-wise vector instruction.
  parameter int unsigned VectorSetup = 0,
  /// 1: the lanes are DPI code with the same bits.
  parameter int unsigned NativeLanes = 0,
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
  localparam int unsigned BeatElems = BeatBytes / 2;
  localparam int unsigned PageBytes = AllBank != 0 ? Banks * RowBytes : RowBytes;
  localparam longint unsigned Capacity = 64'(Banks) * 64'(RowBytes) * 64'(Rows);
  localparam int unsigned LanePasses = (BeatElems + Lanes - 1) / Lanes;
  localparam int unsigned LaneSpacing = CkRatio * LanePasses;
  localparam int unsigned GroupBits = $clog2(AccGroups);
  localparam int unsigned IndexBits = $clog2(ScalarDepth);
  localparam int unsigned PartBits = $clog2(BeatBytes / AtomBytes + 1);
  localparam int unsigned SliceBits = $clog2(AtomBytes / 2 + 1);

  // generated:timing
  localparam pim_pkg::timing_t Timing = '{
      rcd_rd: 16'(TRcdRd), rcd_wr: 16'(TRcdWr), rp: 16'(TRp), ras: 16'(TRas), rc: 16'(TRc),
      ccd_s: 16'(TCcdS), ccd_l: 16'(TCcdL), rrd_s: 16'(TRrdS), rrd_l: 16'(TRrdL), faw: 16'(TFaw),
      wr: 16'(TWr), rtp: 16'(TRtp), wtr_s: 16'(TWtrS), wtr_l: 16'(TWtrL), refi: 16'(TRefi),
      rfc: 16'(TRfc), xs: 16'(TXs), xsdll: 16'(TXsdll), cl: 16'(TCl), cwl: 16'(TCwl), bl: 16'(TBl)};
  // end generated

  pim_conditions #(
    // generated:conditions
    .AllBank(longint'(AllBank)),
    .Banks(longint'(Banks)),
    .BankGroups(longint'(BankGroups)),
    .RowBytes(longint'(RowBytes)),
    .Rows(longint'(Rows)),
    .AtomBytes(longint'(AtomBytes)),
    .CkRatio(longint'(CkRatio)),
    .Lanes(longint'(Lanes)),
    .AccGroups(longint'(AccGroups)),
    .ScalarDepth(longint'(ScalarDepth)),
    .LaneLatency(longint'(LaneLatency)),
    .VectorSetup(longint'(VectorSetup)),
    .NativeLanes(longint'(NativeLanes)),
    .TckFs(longint'(TckFs)),
    .TRcdRd(longint'(TRcdRd)),
    .TRcdWr(longint'(TRcdWr)),
    .TRp(longint'(TRp)),
    .TRas(longint'(TRas)),
    .TRc(longint'(TRc)),
    .TCcdS(longint'(TCcdS)),
    .TCcdL(longint'(TCcdL)),
    .TRrdS(longint'(TRrdS)),
    .TRrdL(longint'(TRrdL)),
    .TFaw(longint'(TFaw)),
    .TWr(longint'(TWr)),
    .TRtp(longint'(TRtp)),
    .TWtrS(longint'(TWtrS)),
    .TWtrL(longint'(TWtrL)),
    .TRefi(longint'(TRefi)),
    .TRfc(longint'(TRfc)),
    .TXs(longint'(TXs)),
    .TXsdll(longint'(TXsdll)),
    .TCl(longint'(TCl)),
    .TCwl(longint'(TCwl)),
    .TBl(longint'(TBl))
    // end generated
  ) u_conditions ();

  // ---- reset ----------------------------------------------------------------------------
  logic soft_reset, core_rst_nq;

  always_ff @(posedge clk_i) core_rst_nq <= rst_ni && !soft_reset;

  assign bus_rst_no = core_rst_nq;

  // ---- registers and list engine --------------------------------------------------------
  logic doorbell, busy, ended, wake, sleep, asleep;
  pim_isa_pkg::code_e end_code;
  logic [63:0] list_addr, window_base, window_size, desc_addr;
  logic [31:0] chain_limit, desc_count;
  logic [pim_isa_pkg::Counters-1:0][63:0] totals;
  logic [pim_isa_pkg::Counters-1:0][31:0] captured;
  logic [63:0] captured_cycles;
  pim_isa_pkg::descriptor_t desc;
  logic count_clear, count_capture;

  logic list_rd_start, list_wr_start, list_wr_valid, check_start, check_done;
  pim_isa_pkg::code_e check_code;
  pim_pkg::job_t list_job, copy_job, job;
  logic [63:0] list_strobe;
  logic [511:0] list_wr_data, copy_wr_data;
  logic copy_start, copy_done, copy_active_q, seq_start, seq_done, list_active;
  pim_isa_pkg::code_e copy_code;
  logic copy_rd_start, copy_wr_start, copy_wr_valid;

  logic rd_busy, rd_error, rd_room, rd_burst, rd_valid, rd_stall;
  logic [4:0] rd_burst_beats;
  logic [511:0] rd_data;
  logic wr_busy, wr_error, wr_ready, wr_stall;

  assign busy_o = busy || doorbell;

  // While a compute instruction runs, and between lists, nothing of the list engine, the copies
  // and the DMA moves: their clock stops.
  logic clk_host, host_en;

  assign host_en = !core_rst_nq || doorbell || seq_done || copy_active_q || list_active;

  pim_clock_gate u_host_gate (
    .clk_i,
    .en_i(host_en),
    .clk_o(clk_host)
  );

  pim_regs #(
    .Capacity(Capacity),
    .Style(pim_isa_pkg::style_t'{
        native_lanes: NativeLanes != 0, all_bank: 8'(AllBank != 0), default: '0}),
    .Banks(Banks),
    .BankGroups(BankGroups),
    .RowBytes(RowBytes),
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .Lanes(Lanes),
    .AccGroups(AccGroups),
    .ScalarDepth(ScalarDepth),
    .CkRatio(CkRatio),
    .TckFs(TckFs),
    .LaneLatency(LaneLatency)
  ) u_regs (
    .clk_i,
    .rst_ni,
    .s_axil_awaddr_i(s_axil_awaddr),
    .s_axil_awvalid_i(s_axil_awvalid),
    .s_axil_awready_o(s_axil_awready),
    .s_axil_wdata_i(s_axil_wdata),
    .s_axil_wstrb_i(s_axil_wstrb),
    .s_axil_wvalid_i(s_axil_wvalid),
    .s_axil_wready_o(s_axil_wready),
    .s_axil_bresp_o(s_axil_bresp),
    .s_axil_bvalid_o(s_axil_bvalid),
    .s_axil_bready_i(s_axil_bready),
    .s_axil_araddr_i(s_axil_araddr),
    .s_axil_arvalid_i(s_axil_arvalid),
    .s_axil_arready_o(s_axil_arready),
    .s_axil_rdata_o(s_axil_rdata),
    .s_axil_rresp_o(s_axil_rresp),
    .s_axil_rvalid_o(s_axil_rvalid),
    .s_axil_rready_i(s_axil_rready),
    .irq_o,
    .soft_reset_o(soft_reset),
    .doorbell_o(doorbell),
    .list_o(list_addr),
    .window_base_o(window_base),
    .window_size_o(window_size),
    .chain_limit_o(chain_limit),
    .busy_i(busy),
    .ended_i(ended),
    .end_code_i(end_code),
    .desc_addr_i(desc_addr),
    .desc_count_i(desc_count),
    .counters_i(totals)
  );

  pim_list u_list (
    .clk_i(clk_host),
    .rst_ni(core_rst_nq),
    .doorbell_i(doorbell),
    .list_i(list_addr),
    .window_base_i(window_base),
    .window_size_i(window_size),
    .chain_limit_i(chain_limit),
    .busy_o(busy),
    .active_o(list_active),
    .ended_o(ended),
    .end_code_o(end_code),
    .desc_addr_o(desc_addr),
    .desc_count_o(desc_count),
    .wake_o(wake),
    .sleep_o(sleep),
    .asleep_i(asleep),
    .rd_start_o(list_rd_start),
    .rd_busy_i(rd_busy),
    .rd_error_i(rd_error),
    .rd_valid_i(rd_valid),
    .rd_data_i(rd_data),
    .wr_start_o(list_wr_start),
    .wr_strobe_o(list_strobe),
    .wr_busy_i(wr_busy),
    .wr_error_i(wr_error),
    .wr_valid_o(list_wr_valid),
    .wr_ready_i(wr_ready && !copy_active_q),
    .wr_data_o(list_wr_data),
    .job_o(list_job),
    .check_start_o(check_start),
    .check_done_i(check_done),
    .check_code_i(check_code),
    .copy_start_o(copy_start),
    .copy_done_i(copy_done),
    .copy_code_i(copy_code),
    .seq_start_o(seq_start),
    .seq_done_i(seq_done),
    .desc_o(desc),
    .count_clear_o(count_clear),
    .count_capture_o(count_capture),
    .count_i(captured),
    .count_cycles_i(captured_cycles)
  );

  pim_check #(
    .Capacity(Capacity),
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .AccGroups(AccGroups),
    .ScalarDepth(ScalarDepth)
  ) u_check (
    .clk_i(clk_host),
    .rst_ni(core_rst_nq),
    .start_i(check_start),
    .desc_i(desc),
    .desc_addr_i(desc_addr),
    .window_base_i(window_base),
    .window_size_i(window_size),
    .done_o(check_done),
    .code_o(check_code)
  );

  // ---- DMA ------------------------------------------------------------------------------
  // The list engine and the copy engine never use a DMA engine at the same time.
  always_ff @(posedge clk_host) begin
    if (!core_rst_nq) copy_active_q <= 1'b0;
    else if (copy_start) copy_active_q <= 1'b1;
    else if (copy_done) copy_active_q <= 1'b0;
  end

  assign job = copy_rd_start || copy_wr_start ? copy_job : list_job;

  pim_dma_rd u_dma_rd (
    .clk_i(clk_host),
    .rst_ni(core_rst_nq),
    .start_i(list_rd_start || copy_rd_start),
    .job_i(job),
    .busy_o(rd_busy),
    .error_o(rd_error),
    .room_i(!copy_active_q || rd_room),
    .burst_o(rd_burst),
    .burst_beats_o(rd_burst_beats),
    .valid_o(rd_valid),
    .data_o(rd_data),
    .stall_o(rd_stall),
    .m_axi_araddr_o(m_axi_araddr),
    .m_axi_arlen_o(m_axi_arlen),
    .m_axi_arvalid_o(m_axi_arvalid),
    .m_axi_arready_i(m_axi_arready),
    .m_axi_rdata_i(m_axi_rdata),
    .m_axi_rresp_i(m_axi_rresp),
    .m_axi_rlast_i(m_axi_rlast),
    .m_axi_rvalid_i(m_axi_rvalid),
    .m_axi_rready_o(m_axi_rready)
  );

  pim_dma_wr u_dma_wr (
    .clk_i(clk_host),
    .rst_ni(core_rst_nq),
    .start_i(list_wr_start || copy_wr_start),
    .job_i(job),
    .strobe_i(copy_wr_start ? '1 : list_strobe),
    .busy_o(wr_busy),
    .error_o(wr_error),
    .valid_i(copy_active_q ? copy_wr_valid : list_wr_valid),
    .ready_o(wr_ready),
    .data_i(copy_active_q ? copy_wr_data : list_wr_data),
    .stall_o(wr_stall),
    .m_axi_awaddr_o(m_axi_awaddr),
    .m_axi_awlen_o(m_axi_awlen),
    .m_axi_awvalid_o(m_axi_awvalid),
    .m_axi_awready_i(m_axi_awready),
    .m_axi_wdata_o(m_axi_wdata),
    .m_axi_wstrb_o(m_axi_wstrb),
    .m_axi_wlast_o(m_axi_wlast),
    .m_axi_wvalid_o(m_axi_wvalid),
    .m_axi_wready_i(m_axi_wready),
    .m_axi_bresp_i(m_axi_bresp),
    .m_axi_bvalid_i(m_axi_bvalid),
    .m_axi_bready_o(m_axi_bready)
  );

  assign m_axi_arsize = 3'd6;
  assign m_axi_arburst = 2'b01;
  assign m_axi_awsize = 3'd6;
  assign m_axi_awburst = 2'b01;

  // ---- copies and compute ---------------------------------------------------------------
  logic copy_stream_valid, seq_stream_valid, stream_valid, stream_ready, flush;
  pim_pkg::stream_t copy_stream, seq_stream, stream;
  logic span_valid, span_ready, sched_idle, lanes_busy, memory_idle, quiet;
  pim_pkg::span_t span;
  logic copy_issue, copy_out_room, copy_in_ready, atom_valid, atom_pop;
  logic [AtomBytes*8-1:0] atom_out, atom_in;

  logic zero_init, splat, splat_zero, splat_negate, block_open, block_room, mac;
  pim_pkg::lane_op_e ew_op;
  logic [1:0] ew_scalar;
  logic [IndexBits-1:0] scalar_index, block_base;
  logic [GroupBits-1:0] splat_group, block_group;
  logic [PartBits-1:0] block_part;
  logic [SliceBits-1:0] block_slices;

  pim_copy #(
    .AtomBytes(AtomBytes)
  ) u_copy (
    .clk_i(clk_host),
    .rst_ni(core_rst_nq),
    .start_i(copy_start),
    .desc_i(desc),
    .done_o(copy_done),
    .code_o(copy_code),
    .rd_start_o(copy_rd_start),
    .wr_start_o(copy_wr_start),
    .job_o(copy_job),
    .rd_busy_i(rd_busy),
    .rd_error_i(rd_error),
    .rd_room_o(rd_room),
    .rd_burst_i(rd_burst),
    .rd_burst_beats_i(rd_burst_beats),
    .rd_valid_i(rd_valid),
    .rd_data_i(rd_data),
    .wr_busy_i(wr_busy),
    .wr_error_i(wr_error),
    .wr_valid_o(copy_wr_valid),
    .wr_ready_i(wr_ready && copy_active_q),
    .wr_data_o(copy_wr_data),
    .stream_valid_o(copy_stream_valid),
    .stream_ready_i(stream_ready),
    .stream_o(copy_stream),
    .flush_o(flush),
    .memory_idle_i(memory_idle),
    .issue_i(copy_issue),
    .out_room_o(copy_out_room),
    .in_ready_o(copy_in_ready),
    .atom_valid_i(atom_valid),
    .atom_i(atom_out),
    .atom_pop_i(atom_pop),
    .atom_o(atom_in)
  );

  pim_seq #(
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .AccGroups(AccGroups),
    .ScalarDepth(ScalarDepth),
    .LaneLatency(LaneLatency),
    .VectorSetup(VectorSetup)
  ) u_seq (
    .clk_i,
    .rst_ni(core_rst_nq),
    .start_i(seq_start),
    .desc_i(desc),
    .done_o(seq_done),
    .stream_valid_o(seq_stream_valid),
    .stream_ready_i(stream_ready),
    .stream_o(seq_stream),
    .quiet_i(quiet),
    .zero_init_o(zero_init),
    .ew_op_o(ew_op),
    .ew_scalar_o(ew_scalar),
    .scalar_index_o(scalar_index),
    .splat_o(splat),
    .splat_zero_o(splat_zero),
    .splat_negate_o(splat_negate),
    .splat_group_o(splat_group),
    .block_open_o(block_open),
    .block_group_o(block_group),
    .block_part_o(block_part),
    .block_base_o(block_base),
    .block_slices_o(block_slices),
    .block_room_i(block_room)
  );

  assign stream_valid = copy_active_q ? copy_stream_valid : seq_stream_valid;
  assign stream = copy_active_q ? copy_stream : seq_stream;
  assign memory_idle = !span_valid && sched_idle;
  assign quiet = memory_idle && !lanes_busy;

  pim_spans #(
    .PageBytes(PageBytes),
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes)
  ) u_spans (
    .clk_i,
    .rst_ni(core_rst_nq),
    .flush_i(flush),
    .valid_i(stream_valid),
    .ready_o(stream_ready),
    .stream_i(stream),
    .valid_o(span_valid),
    .ready_i(span_ready),
    .span_o(span)
  );

  // ---- device memory --------------------------------------------------------------------
  pim_pkg::access_t write;
  logic [Banks-1:0] open;

  assign mem_wake_o = wake;
  assign mem_asleep_o = asleep;

  pim_sched #(
    .AllBank(AllBank != 0),
    .Banks(Banks),
    .BankGroups(BankGroups),
    .RowBytes(RowBytes),
    .Rows(Rows),
    .AtomBytes(AtomBytes),
    .CkRatio(CkRatio),
    .LaneSpacing(LaneSpacing),
    .LaneLatency(LaneLatency),
    .Timing(Timing)
  ) u_sched (
    .clk_i,
    .rst_ni(core_rst_nq),
    .wake_i(wake),
    .sleep_i(sleep),
    .asleep_o(asleep),
    .flush_i(flush),
    .valid_i(span_valid),
    .ready_o(span_ready),
    .span_i(span),
    .idle_o(sched_idle),
    .copy_out_room_i(copy_out_room),
    .copy_in_ready_i(copy_in_ready),
    .lanes_busy_i(lanes_busy),
    .copy_issue_o(copy_issue),
    .read_o(mem_read_o),
    .write_o(write),
    .col_cmd_o(mem_col_cmd_o),
    .row_cmd_o(mem_row_cmd_o),
    .col_all_o(mem_col_all_o),
    .row_all_o(mem_row_all_o),
    .col_bank_o(mem_col_bank_o),
    .row_bank_o(mem_row_bank_o),
    .col_slot_o(mem_col_slot_o),
    .row_slot_o(mem_row_slot_o),
    .row_row_o(mem_row_row_o),
    .col_row_o(mem_col_row_o),
    .col_column_o(mem_col_column_o),
    .open_o(open)
  );

  pim_lane_ctl #(
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .AccGroups(AccGroups),
    .ScalarDepth(ScalarDepth),
    .LaneLatency(LaneLatency),
    .LanePasses(LanePasses),
    .NativeLanes(NativeLanes != 0)
  ) u_lane_ctl (
    .clk_i,
    .rst_ni(core_rst_nq),
    .flush_i(flush),
    .read_i(mem_read_o),
    .write_i(write),
    .read_data_i(mem_read_data_i),
    .write_o(mem_write_o),
    .write_data_o(mem_write_data_o),
    .busy_o(lanes_busy),
    .zero_init_i(zero_init),
    .ew_op_i(ew_op),
    .ew_scalar_i(ew_scalar),
    .scalar_index_i(scalar_index),
    .splat_i(splat),
    .splat_zero_i(splat_zero),
    .splat_negate_i(splat_negate),
    .splat_group_i(splat_group),
    .block_open_i(block_open),
    .block_group_i(block_group),
    .block_part_i(block_part),
    .block_base_i(block_base),
    .block_slices_i(block_slices),
    .block_room_o(block_room),
    .copy_out_valid_o(atom_valid),
    .copy_out_data_o(atom_out),
    .copy_in_data_i(atom_in),
    .copy_in_pop_o(atom_pop),
    .mac_o(mac)
  );

  pim_counters #(
    .Banks(Banks),
    .CkRatio(CkRatio)
  ) u_counters (
    .clk_i,
    .rst_ni(core_rst_nq),
    .busy_i(busy),
    .clear_i(count_clear),
    .col_cmd_i(mem_col_cmd_o),
    .row_cmd_i(mem_row_cmd_o),
    .row_all_i(mem_row_all_o),
    .open_i(open),
    .mac_i(mac),
    .stall_i(rd_stall || wr_stall),
    .capture_i(count_capture),
    .total_o(totals),
    .captured_o(captured),
    .captured_cycles_o(captured_cycles)
  );

`ifndef SYNTHESIS
  pim_timing_check #(
    .Banks(Banks),
    .BankGroups(BankGroups),
    .Rows(Rows),
    .CkRatio(CkRatio),
    .Timing(Timing)
  ) u_timing_check (
    .clk_i,
    .rst_ni(core_rst_nq),
    .wake_i(wake),
    .asleep_i(asleep),
    .col_cmd_i(mem_col_cmd_o),
    .row_cmd_i(mem_row_cmd_o),
    .col_all_i(mem_col_all_o),
    .row_all_i(mem_row_all_o),
    .col_bank_i(mem_col_bank_o),
    .row_bank_i(mem_row_bank_o),
    .col_slot_i(mem_col_slot_o),
    .row_slot_i(mem_row_slot_o),
    .row_row_i(mem_row_row_o),
    .col_row_i(mem_col_row_o)
  );
`endif

endmodule

`default_nettype wire
