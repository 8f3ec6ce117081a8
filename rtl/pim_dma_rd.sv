`default_nettype none

/// Reads a two-dimensional block of host memory over the AXI4 read channels.
///
/// Up to `MaxOutstanding` bursts are in flight, and only as many beats as the consumer has
/// announced room for (`room_i`), so that `m_axi_rready_o` can stay high. After an error
/// response no further burst is requested; those in flight are taken and dropped.
module pim_dma_rd #(
  /// Bursts in flight at most.
  parameter int unsigned MaxOutstanding = 4
) (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  /// Transfer to do; taken when `start_i` while not busy.
  input  wire logic          start_i,
  input  wire pim_pkg::job_t job_i,
  output logic               busy_o,
  /// An error response came; stays up until the next start.
  output logic               error_o,
  /// Beats the consumer can still take beyond those already requested: room for 16 more.
  input  wire logic          room_i,
  /// A burst of `burst_beats_o` beats has been requested.
  output logic               burst_o,
  output logic      [4:0]    burst_beats_o,
  /// Data, in order; cannot be refused. Not raised for beats after an error.
  output logic               valid_o,
  output logic      [511:0]  data_o,
  /// Waiting for the host memory in this clock.
  output logic               stall_o,

  output logic      [63:0]   m_axi_araddr_o,
  output logic      [7:0]    m_axi_arlen_o,
  output logic               m_axi_arvalid_o,
  input  wire logic          m_axi_arready_i,
  input  wire logic [511:0]  m_axi_rdata_i,
  input  wire logic [1:0]    m_axi_rresp_i,
  input  wire logic          m_axi_rlast_i,
  input  wire logic          m_axi_rvalid_i,
  output logic               m_axi_rready_o
);

  localparam int unsigned CountBits = $clog2(MaxOutstanding + 1);

  logic gen_idle, gen_valid, gen_ready, gen_last;
  logic [63:0] gen_addr;
  logic [7:0] gen_len;
  logic ar_valid_q;
  logic [63:0] ar_addr_q;
  logic [7:0] ar_len_q;
  logic [CountBits-1:0] outstanding_q;
  logic error_q;
  logic burst_done;

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

  // After an error the remaining bursts are drawn from the generator but not sent.
  assign gen_ready = error_q || (!ar_valid_q && room_i &&
                                 outstanding_q != CountBits'(MaxOutstanding));
  assign burst_o = gen_valid && gen_ready && !error_q;
  assign burst_beats_o = gen_len[4:0] + 5'd1;
  assign burst_done = m_axi_rvalid_i && m_axi_rready_o && m_axi_rlast_i;

  assign busy_o = !gen_idle || outstanding_q != '0;
  assign error_o = error_q;
  assign valid_o = m_axi_rvalid_i && m_axi_rready_o && !error_q && !m_axi_rresp_i[1];
  assign data_o = m_axi_rdata_i;
  assign stall_o = (outstanding_q != '0) && !m_axi_rvalid_i;

  assign m_axi_araddr_o = ar_addr_q;
  assign m_axi_arlen_o = ar_len_q;
  assign m_axi_arvalid_o = ar_valid_q;
  assign m_axi_rready_o = 1'b1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ar_valid_q <= 1'b0;
      ar_addr_q <= '0;
      ar_len_q <= '0;
      outstanding_q <= '0;
      error_q <= 1'b0;
    end else begin
      if (start_i && !busy_o) error_q <= 1'b0;
      else if (m_axi_rvalid_i && m_axi_rready_o && m_axi_rresp_i[1]) error_q <= 1'b1;
      if (burst_o) begin
        ar_valid_q <= 1'b1;
        ar_addr_q <= gen_addr;
        ar_len_q <= gen_len;
      end else if (m_axi_arready_i) begin
        ar_valid_q <= 1'b0;
      end
      outstanding_q <= outstanding_q + CountBits'(burst_o) - CountBits'(burst_done);
    end
  end

  // The end of the job shows in `gen_idle`; the flag itself has no use here.
  logic unused;
  assign unused = ^{gen_last, gen_len[7:5], m_axi_rresp_i[0]};

endmodule

`default_nettype wire
