`default_nettype none

/// Front end of the device: registers, list engine, check of descriptors, DMA.
///
/// Everything that the host sees. It hands the descriptor in hand to the engine, one at a time, and
/// lets it use the DMA for copies; it wakes the channel for a list and reads its counters.
/// `pim_regs` alone outlives a soft reset and runs on the clock of the device. The rest stands still
/// while a computation runs, and between lists: `clk_host_o`.
module pim_front #(
  parameter pim_blocks_pkg::geometry_t Geometry = '0
) (
  input  wire logic         clk_i,
  input  wire logic         rst_ni,
  /// Reset of everything but the registers.
  input  wire logic         core_rst_ni,
  /// Pulse: reset the core.
  output logic              soft_reset_o,
  /// Clock of what moves only for the host; copies belong to it.
  output logic              clk_host_o,
  /// Level interrupt.
  output logic              irq_o,
  /// A list is running or about to.
  output logic              busy_o,

  /// The descriptor in hand; stays while there is work on it.
  output      pim_isa_pkg::descriptor_t   desc_o,
  output      pim_blocks_pkg::work_t      work_o,
  input  wire pim_blocks_pkg::done_t      done_i,

  /// DMA for the engine.
  input  wire pim_blocks_pkg::dma_ask_t   dma_i,
  input  wire pim_pkg::job_t              dma_job_i,
  input  wire logic [511:0]               wr_data_i,
  output      pim_blocks_pkg::dma_state_t dma_o,
  output logic      [511:0]               rd_data_o,

  /// Channel and its counters: totals, and those of the descriptor when captured.
  output      pim_blocks_pkg::control_t   control_o,
  input  wire logic                       asleep_i,
  input  wire logic [pim_isa_pkg::Counters-1:0][63:0] totals_i,
  input  wire logic [pim_isa_pkg::Counters-1:0][31:0] captured_i,
  input  wire logic [63:0]                captured_cycles_i,

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

  localparam longint unsigned Capacity =
      64'(Geometry.banks) * 64'(Geometry.row_bytes) * 64'(Geometry.rows);

  logic doorbell, busy, ended, list_active, copy_active_q;
  pim_isa_pkg::code_e end_code, check_code;
  logic [63:0] list_addr, window_base, window_size, desc_addr;
  logic [31:0] chain_limit, desc_count;
  logic check_start, check_done;
  logic list_rd_start, list_wr_start, list_wr_valid;
  pim_pkg::job_t list_job, job;
  logic [63:0] list_strobe;
  logic [511:0] list_wr_data;
  logic rd_stall, wr_stall;

  assign busy_o = busy || doorbell;
  assign work_o.copy_active = copy_active_q;
  assign control_o.busy = busy;
  assign control_o.stall = rd_stall || wr_stall;
  assign control_o.rd_beat = m_axi_rvalid && m_axi_rready;
  assign control_o.wr_beat = m_axi_wvalid && m_axi_wready;
  assign control_o.wr_status = !m_axi_wstrb[0];

  // While a compute instruction runs, and between lists, nothing of the list engine, the copies
  // and the DMA moves: their clock stops.
  logic host_en;

  assign host_en = !core_rst_ni || doorbell || done_i.seq_done || copy_active_q || list_active;

  pim_clock_gate u_host_gate (
    .clk_i,
    .en_i(host_en),
    .clk_o(clk_host_o)
  );

  // ---- registers and list engine --------------------------------------------------------
  pim_regs #(
    .Capacity(Capacity),
    .Style(pim_isa_pkg::style_t'{
        native_lanes: Geometry.native_lanes, all_bank: 8'(Geometry.all_bank), default: '0}),
    .Banks(Geometry.banks),
    .BankGroups(Geometry.bank_groups),
    .RowBytes(Geometry.row_bytes),
    .AtomBytes(Geometry.atom_bytes),
    .BeatBytes(Geometry.beat_bytes),
    .Lanes(Geometry.lanes),
    .AccGroups(Geometry.acc_groups),
    .ScalarDepth(Geometry.scalar_depth),
    .CkRatio(Geometry.ck_ratio),
    .TckFs(Geometry.tck_fs),
    .LaneLatency(Geometry.lane_latency), .RowsPerBeat(Geometry.rows_per_beat),
    .TransposeWays(Geometry.transpose_ways)
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
    .soft_reset_o,
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
    .counters_i(totals_i)
  );

  pim_list u_list (
    .clk_i(clk_host_o),
    .rst_ni(core_rst_ni),
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
    .wake_o(control_o.wake),
    .sleep_o(control_o.sleep),
    .asleep_i,
    .rd_start_o(list_rd_start),
    .rd_busy_i(dma_o.rd_busy),
    .rd_error_i(dma_o.rd_error),
    .rd_valid_i(dma_o.rd_valid),
    .rd_data_i(rd_data_o),
    .wr_start_o(list_wr_start),
    .wr_strobe_o(list_strobe),
    .wr_busy_i(dma_o.wr_busy),
    .wr_error_i(dma_o.wr_error),
    .wr_valid_o(list_wr_valid),
    .wr_ready_i(dma_o.wr_ready && !copy_active_q),
    .wr_data_o(list_wr_data),
    .job_o(list_job),
    .check_start_o(check_start),
    .check_done_i(check_done),
    .check_code_i(check_code),
    .copy_start_o(work_o.copy_start),
    .copy_done_i(done_i.copy_done),
    .copy_code_i(done_i.copy_code),
    .seq_start_o(work_o.seq_start),
    .seq_done_i(done_i.seq_done),
    .desc_o,
    .count_clear_o(control_o.count_clear),
    .count_capture_o(control_o.count_capture),
    .count_i(captured_i),
    .count_cycles_i(captured_cycles_i)
  );

  pim_check #(
    .Capacity(Capacity),
    .AtomBytes(Geometry.atom_bytes),
    .BeatBytes(Geometry.beat_bytes),
    .AccGroups(Geometry.acc_groups),
    .ScalarDepth(Geometry.scalar_depth),
    .RowsPerBeat(Geometry.rows_per_beat)
  ) u_check (
    .clk_i(clk_host_o),
    .rst_ni(core_rst_ni),
    .start_i(check_start),
    .desc_i(desc_o),
    .desc_addr_i(desc_addr),
    .window_base_i(window_base),
    .window_size_i(window_size),
    .done_o(check_done),
    .code_o(check_code)
  );

  // ---- DMA ------------------------------------------------------------------------------
  // The list engine and the copy engine never use a DMA engine at the same time.
  always_ff @(posedge clk_host_o) begin
    if (!core_rst_ni) copy_active_q <= 1'b0;
    else if (work_o.copy_start) copy_active_q <= 1'b1;
    else if (done_i.copy_done) copy_active_q <= 1'b0;
  end

  assign job = dma_i.rd_start || dma_i.wr_start ? dma_job_i : list_job;

  pim_dma_rd u_dma_rd (
    .clk_i(clk_host_o),
    .rst_ni(core_rst_ni),
    .start_i(list_rd_start || dma_i.rd_start),
    .job_i(job),
    .busy_o(dma_o.rd_busy),
    .error_o(dma_o.rd_error),
    .room_i(!copy_active_q || dma_i.rd_room),
    .burst_o(dma_o.rd_burst),
    .burst_beats_o(dma_o.rd_burst_beats),
    .valid_o(dma_o.rd_valid),
    .data_o(rd_data_o),
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
    .clk_i(clk_host_o),
    .rst_ni(core_rst_ni),
    .start_i(list_wr_start || dma_i.wr_start),
    .job_i(job),
    .strobe_i(dma_i.wr_start ? '1 : list_strobe),
    .busy_o(dma_o.wr_busy),
    .error_o(dma_o.wr_error),
    .valid_i(copy_active_q ? dma_i.wr_valid : list_wr_valid),
    .ready_o(dma_o.wr_ready),
    .data_i(copy_active_q ? wr_data_i : list_wr_data),
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

endmodule

`default_nettype wire
