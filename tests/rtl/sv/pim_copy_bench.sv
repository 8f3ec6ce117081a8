/// pim_copy with both DMA engines, for test_pim_copy, test_pim_dma_rd and test_pim_dma_wr.
///
/// `direct_i` hands the DMA engines to the bench instead of to pim_copy. The AXI side has the
/// signals that cocotbext-axi wants; identifiers are constant.
module pim_copy_bench #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned FifoDepth = 32
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  input  logic                   direct_i,
  input  logic                   rd_start_i,
  input  logic                   wr_start_i,
  input  logic [159:0]           job_i,
  input  logic [63:0]            strobe_i,
  input  logic                   rd_room_i,
  output logic                   rd_busy_o,
  output logic                   rd_error_o,
  output logic                   rd_burst_o,
  output logic [4:0]             rd_burst_beats_o,
  output logic                   rd_valid_o,
  output logic [511:0]           rd_data_o,
  output logic                   rd_stall_o,
  output logic                   wr_busy_o,
  output logic                   wr_error_o,
  input  logic                   wr_valid_i,
  output logic                   wr_ready_o,
  input  logic [511:0]           wr_data_i,
  output logic                   wr_stall_o,

  input  logic                   start_i,
  input  logic [511:0]           desc_i,
  output logic                   done_o,
  output logic [7:0]             code_o,
  output logic                   stream_valid_o,
  input  logic                   stream_ready_i,
  output logic [80:0]            stream_o,
  output logic                   flush_o,
  input  logic                   memory_idle_i,
  input  logic                   issue_i,
  output logic                   out_room_o,
  output logic                   in_ready_o,
  input  logic                   atom_valid_i,
  input  logic [AtomBytes*8-1:0] atom_i,
  input  logic                   atom_pop_i,
  output logic [AtomBytes*8-1:0] atom_o,

  output logic [0:0]             m_axi_arid,
  output logic [63:0]            m_axi_araddr,
  output logic [7:0]             m_axi_arlen,
  output logic [2:0]             m_axi_arsize,
  output logic [1:0]             m_axi_arburst,
  output logic                   m_axi_arvalid,
  input  logic                   m_axi_arready,
  input  logic [0:0]             m_axi_rid,
  input  logic [511:0]           m_axi_rdata,
  input  logic [1:0]             m_axi_rresp,
  input  logic                   m_axi_rlast,
  input  logic                   m_axi_rvalid,
  output logic                   m_axi_rready,
  output logic [0:0]             m_axi_awid,
  output logic [63:0]            m_axi_awaddr,
  output logic [7:0]             m_axi_awlen,
  output logic [2:0]             m_axi_awsize,
  output logic [1:0]             m_axi_awburst,
  output logic                   m_axi_awvalid,
  input  logic                   m_axi_awready,
  output logic [511:0]           m_axi_wdata,
  output logic [63:0]            m_axi_wstrb,
  output logic                   m_axi_wlast,
  output logic                   m_axi_wvalid,
  input  logic                   m_axi_wready,
  input  logic [0:0]             m_axi_bid,
  input  logic [1:0]             m_axi_bresp,
  input  logic                   m_axi_bvalid,
  output logic                   m_axi_bready
);

  logic copy_rd_start, copy_wr_start, copy_rd_room, copy_wr_valid;
  logic [511:0] copy_wr_data;
  pim_pkg::job_t copy_job, job;
  pim_pkg::stream_t stream;
  pim_isa_pkg::code_e code;

  assign job = direct_i ? pim_pkg::job_t'(job_i) : copy_job;
  assign stream_o = stream;
  assign code_o = code;

  pim_copy #(
    .AtomBytes(AtomBytes),
    .FifoDepth(FifoDepth)
  ) u_copy (
    .clk_i,
    .rst_ni,
    .start_i,
    .desc_i,
    .done_o,
    .code_o(code),
    .rd_start_o(copy_rd_start),
    .wr_start_o(copy_wr_start),
    .job_o(copy_job),
    .rd_busy_i(rd_busy_o),
    .rd_error_i(rd_error_o),
    .rd_room_o(copy_rd_room),
    .rd_burst_i(rd_burst_o),
    .rd_burst_beats_i(rd_burst_beats_o),
    .rd_valid_i(rd_valid_o),
    .rd_data_i(rd_data_o),
    .wr_busy_i(wr_busy_o),
    .wr_error_i(wr_error_o),
    .wr_valid_o(copy_wr_valid),
    .wr_ready_i(wr_ready_o && !direct_i),
    .wr_data_o(copy_wr_data),
    .stream_valid_o,
    .stream_ready_i,
    .stream_o(stream),
    .flush_o,
    .memory_idle_i,
    .issue_i,
    .out_room_o,
    .in_ready_o,
    .atom_valid_i,
    .atom_i,
    .atom_pop_i,
    .atom_o
  );

  pim_dma_rd u_dma_rd (
    .clk_i,
    .rst_ni,
    .start_i(direct_i ? rd_start_i : copy_rd_start),
    .job_i(job),
    .busy_o(rd_busy_o),
    .error_o(rd_error_o),
    .room_i(direct_i ? rd_room_i : copy_rd_room),
    .burst_o(rd_burst_o),
    .burst_beats_o(rd_burst_beats_o),
    .valid_o(rd_valid_o),
    .data_o(rd_data_o),
    .stall_o(rd_stall_o),
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
    .clk_i,
    .rst_ni,
    .start_i(direct_i ? wr_start_i : copy_wr_start),
    .job_i(job),
    .strobe_i(direct_i ? strobe_i : '1),
    .busy_o(wr_busy_o),
    .error_o(wr_error_o),
    .valid_i(direct_i ? wr_valid_i : copy_wr_valid),
    .ready_o(wr_ready_o),
    .data_i(direct_i ? wr_data_i : copy_wr_data),
    .stall_o(wr_stall_o),
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

  assign m_axi_arid = '0;
  assign m_axi_arsize = 3'd6;
  assign m_axi_arburst = 2'b01;
  assign m_axi_awid = '0;
  assign m_axi_awsize = 3'd6;
  assign m_axi_awburst = 2'b01;

  logic unused;
  assign unused = ^{m_axi_rid, m_axi_bid};

endmodule
