`default_nettype none

/// Writes a two-dimensional block of host memory over the AXI4 write channels.
///
/// The address of a burst is sent before its data; up to `MaxOutstanding` bursts wait for
/// their response. `busy_o` falls when the last response is in, so that everything written is
/// then visible to the host. After an error response the rest of the data is still drawn and
/// sent, because AXI has no way to take a burst back.
module pim_dma_wr #(
  /// Bursts whose response is awaited at most.
  parameter int unsigned MaxOutstanding = 4
) (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  /// Transfer to do; taken when `start_i` while not busy.
  input  wire logic          start_i,
  input  wire pim_pkg::job_t job_i,
  /// Byte strobes of every beat of the transfer.
  input  wire logic [63:0]   strobe_i,
  output logic               busy_o,
  /// An error response came; stays up until the next start.
  output logic               error_o,
  /// Data in order.
  input  wire logic          valid_i,
  output logic               ready_o,
  input  wire logic [511:0]  data_i,
  /// Waiting for the host memory in this clock.
  output logic               stall_o,

  output logic      [63:0]   m_axi_awaddr_o,
  output logic      [7:0]    m_axi_awlen_o,
  output logic               m_axi_awvalid_o,
  input  wire logic          m_axi_awready_i,
  output logic      [511:0]  m_axi_wdata_o,
  output logic      [63:0]   m_axi_wstrb_o,
  output logic               m_axi_wlast_o,
  output logic               m_axi_wvalid_o,
  input  wire logic          m_axi_wready_i,
  input  wire logic [1:0]    m_axi_bresp_i,
  input  wire logic          m_axi_bvalid_i,
  output logic               m_axi_bready_o
);

  localparam int unsigned CountBits = $clog2(MaxOutstanding + 1);

  logic gen_idle, gen_valid, gen_ready, gen_last;
  logic [63:0] gen_addr;
  logic [7:0] gen_len;
  logic aw_valid_q;
  logic [63:0] aw_addr_q;
  logic [7:0] aw_len_q;
  logic data_active_q;
  logic [7:0] beats_left_q;
  logic [CountBits-1:0] outstanding_q;
  logic [63:0] strobe_q;
  logic error_q;

  pim_burst_gen u_bursts (
    .clk_i,
    .rst_ni,
    .start_i(start_i && !busy_o),
    .job_i,
    .idle_o(gen_idle),
    .valid_o(gen_valid),
    .ready_i(gen_ready),
    .addr_o(gen_addr),
    .len_o(gen_len),
    .last_o(gen_last)
  );

  // One burst is sent whole before the next address goes out.
  assign gen_ready = !aw_valid_q && !data_active_q && outstanding_q != CountBits'(MaxOutstanding);

  assign busy_o = !gen_idle || outstanding_q != '0;
  assign error_o = error_q;
  assign ready_o = data_active_q && m_axi_wready_i;
  assign stall_o = (m_axi_wvalid_o && !m_axi_wready_i) || (aw_valid_q && !m_axi_awready_i) ||
                   (gen_idle && !data_active_q && outstanding_q != '0 && !m_axi_bvalid_i);

  assign m_axi_awaddr_o = aw_addr_q;
  assign m_axi_awlen_o = aw_len_q;
  assign m_axi_awvalid_o = aw_valid_q;
  assign m_axi_wdata_o = data_i;
  assign m_axi_wstrb_o = strobe_q;
  assign m_axi_wlast_o = beats_left_q == '0;
  assign m_axi_wvalid_o = data_active_q && valid_i;
  assign m_axi_bready_o = 1'b1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_valid_q <= 1'b0;
      aw_addr_q <= '0;
      aw_len_q <= '0;
      data_active_q <= 1'b0;
      beats_left_q <= '0;
      outstanding_q <= '0;
      strobe_q <= '0;
      error_q <= 1'b0;
    end else begin
      if (start_i && !busy_o) begin
        error_q <= 1'b0;
        strobe_q <= strobe_i;
      end else if (m_axi_bvalid_i && m_axi_bresp_i[1]) begin
        error_q <= 1'b1;
      end
      if (gen_valid && gen_ready) begin
        aw_valid_q <= 1'b1;
        aw_addr_q <= gen_addr;
        aw_len_q <= gen_len;
        data_active_q <= 1'b1;
        beats_left_q <= gen_len;
      end else begin
        if (m_axi_awready_i) aw_valid_q <= 1'b0;
        if (m_axi_wvalid_o && m_axi_wready_i) begin
          beats_left_q <= beats_left_q - 8'd1;
          if (m_axi_wlast_o) data_active_q <= 1'b0;
        end
      end
      outstanding_q <= outstanding_q + CountBits'(gen_valid && gen_ready)
                       - CountBits'(m_axi_bvalid_i);
    end
  end

  // The end of the job shows in `gen_idle`; SLVERR and DECERR are told from OKAY by bit 1.
  logic unused;
  assign unused = ^{gen_last, m_axi_bresp_i[0]};

endmodule

`default_nettype wire
