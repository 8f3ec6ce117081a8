/// pim_dma_rd and pim_dma_wr: what the AXI4 master sends obeys the protocol and stays in its job.
///
/// Addresses and lengths stay while they are not taken; a burst has at most 16 beats of 64 bytes
/// and never crosses a 4 KiB boundary; the bursts of a job are its rows, in order, without a gap
/// and without a byte beside them; at most `MaxOutstanding` bursts await their end; the last beat
/// of written data, and no other, is marked. Not busy means nothing is on its way.
module pim_dma_formal #(
  parameter bit Write = 1'b0,
  parameter int unsigned MaxOutstanding = 4
) (
  input logic          clk_i,
  input logic          start_i,
  input pim_pkg::job_t job_i,
  input logic          room_i,
  input logic          addr_ready_i,
  input logic [1:0]    resp_i,
  input logic          resp_valid_i,
  input logic          last_i,
  input logic          valid_i,
  input logic          data_ready_i,
  input logic [63:0]   strobe_i,
  input logic [511:0]  data_i
);

  logic rst_ni = 1'b0;
  always_ff @(posedge clk_i) rst_ni <= 1'b1;

  // What pim_check and the list engine promise of a job.
  always_comb begin
    if (start_i) begin
      assume (job_i.addr[5:0] == '0 && job_i.stride[5:0] == '0 && job_i.bytes[5:0] == '0);
      assume (job_i.bytes != '0 && job_i.rows != '0);
    end
  end

  logic busy, error, addr_valid, taken, response, gen_valid, gen_idle;
  logic [63:0] addr;
  logic [7:0] len;
  logic [63:0] gen_addr;
  logic [7:0] gen_len;
  logic dut_data_active, wvalid, wlast, ready;
  logic [7:0] dut_beats_left;
  logic [2:0] dut_outstanding;
  logic [25:0] dut_left, dut_row_beats;
  logic [31:0] dut_rows, dut_stride;
  logic [63:0] dut_addr, dut_row_addr;

  if (Write) begin : gen_write
    logic stall, bready;
    logic [511:0] wdata;
    logic [63:0] wstrb;
    pim_dma_wr #(.MaxOutstanding(MaxOutstanding)) u_dut (
      .clk_i, .rst_ni, .start_i, .job_i, .strobe_i, .busy_o(busy), .error_o(error), .valid_i,
      .ready_o(ready), .data_i, .stall_o(stall), .m_axi_awaddr_o(addr), .m_axi_awlen_o(len),
      .m_axi_awvalid_o(addr_valid), .m_axi_awready_i(addr_ready_i), .m_axi_wdata_o(wdata),
      .m_axi_wstrb_o(wstrb), .m_axi_wlast_o(wlast), .m_axi_wvalid_o(wvalid),
      .m_axi_wready_i(data_ready_i), .m_axi_bresp_i(resp_i), .m_axi_bvalid_i(resp_valid_i),
      .m_axi_bready_o(bready)
    );
    assign response = resp_valid_i;
    assign gen_valid = u_dut.gen_valid && u_dut.gen_ready;
    assign gen_addr = u_dut.gen_addr;
    assign gen_len = u_dut.gen_len;
    assign gen_idle = u_dut.gen_idle;
    assign dut_outstanding = 3'(u_dut.outstanding_q);
    assign dut_data_active = u_dut.data_active_q;
    assign dut_beats_left = u_dut.beats_left_q;
    assign dut_left = u_dut.u_bursts.beats_left_q;
    assign dut_row_beats = u_dut.u_bursts.row_beats_q;
    assign dut_rows = u_dut.u_bursts.rows_q;
    assign dut_stride = u_dut.u_bursts.stride_q;
    assign dut_addr = u_dut.u_bursts.addr_q;
    assign dut_row_addr = u_dut.u_bursts.row_addr_q;
  end else begin : gen_read
    logic stall, valid, rready, burst;
    logic [4:0] burst_beats;
    logic [511:0] data;
    pim_dma_rd #(.MaxOutstanding(MaxOutstanding)) u_dut (
      .clk_i, .rst_ni, .start_i, .job_i, .busy_o(busy), .error_o(error), .room_i,
      .burst_o(burst), .burst_beats_o(burst_beats), .valid_o(valid), .data_o(data),
      .stall_o(stall), .m_axi_araddr_o(addr), .m_axi_arlen_o(len), .m_axi_arvalid_o(addr_valid),
      .m_axi_arready_i(addr_ready_i), .m_axi_rdata_i(data_i), .m_axi_rresp_i(resp_i),
      .m_axi_rlast_i(last_i), .m_axi_rvalid_i(resp_valid_i), .m_axi_rready_o(rready)
    );
    assign response = resp_valid_i && last_i;
    // After an error bursts are drawn from the generator and dropped.
    assign gen_valid = u_dut.gen_valid && u_dut.gen_ready;
    assign gen_addr = u_dut.gen_addr;
    assign gen_len = u_dut.gen_len;
    assign gen_idle = u_dut.gen_idle;
    assign dut_outstanding = 3'(u_dut.outstanding_q);
    assign dut_data_active = 1'b0;
    assign dut_beats_left = '0;
    assign wvalid = 1'b0;
    assign wlast = 1'b0;
    assign ready = 1'b0;
    assign dut_left = u_dut.u_bursts.beats_left_q;
    assign dut_row_beats = u_dut.u_bursts.row_beats_q;
    assign dut_rows = u_dut.u_bursts.rows_q;
    assign dut_stride = u_dut.u_bursts.stride_q;
    assign dut_addr = u_dut.u_bursts.addr_q;
    assign dut_row_addr = u_dut.u_bursts.row_addr_q;
  end
  assign taken = addr_valid && addr_ready_i;

  // ---- bursts whose response is awaited, as the memory counts them -----------------------
  // A write is answered when its address and all of its data have arrived.
  logic [2:0] addr_owed_q, data_owed_q;
  logic data_end;
  assign data_end = wvalid && data_ready_i && wlast;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      addr_owed_q <= '0;
      data_owed_q <= '0;
    end else begin
      addr_owed_q <= addr_owed_q + 3'(taken) - 3'(response);
      data_owed_q <= data_owed_q + 3'(data_end) - 3'(Write && response);
    end
  end
  always_comb begin
    if (resp_valid_i) assume (addr_owed_q != '0 && (!Write || data_owed_q != '0));
  end

  // ---- the job, kept here once more -----------------------------------------------------
  pim_pkg::job_t job_q;
  logic [63:0] row_q;             // first byte of the row
  logic [31:0] rows_left_q;
  logic [25:0] sent_q;            // beats of it that have been asked for
  logic active_q;
  logic [25:0] beats;
  assign beats = 26'(gen_len) + 26'd1;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
    end else if (start_i && !busy) begin
      job_q <= job_i;
      row_q <= job_i.addr;
      rows_left_q <= job_i.rows;
      sent_q <= '0;
      active_q <= 1'b1;
    end else if (active_q && gen_valid) begin
      sent_q <= sent_q + beats;
      if (sent_q + beats == job_q.bytes[31:6]) begin
        sent_q <= '0;
        row_q <= row_q + 64'(job_q.stride);
        rows_left_q <= rows_left_q - 32'd1;
        if (rows_left_q == 32'd1) active_q <= 1'b0;
      end
    end
  end

  // ---- the clock before this one, and the data of the burst that is being written --------
  logic held_q, drawn_q, w_held_q;
  logic [63:0] addr_q, drawn_addr_q;
  logic [7:0] len_q, drawn_len_q;
  logic [8:0] w_left_q;  // beats of the burst still to be written
  always_ff @(posedge clk_i) begin
    held_q <= rst_ni && addr_valid && !addr_ready_i;
    addr_q <= addr;
    len_q <= len;
    drawn_q <= rst_ni && gen_valid && (Write || !error);
    drawn_addr_q <= gen_addr;
    drawn_len_q <= gen_len;
    w_held_q <= rst_ni && wvalid && !data_ready_i;
    if (!rst_ni) w_left_q <= '0;
    else if (gen_valid) w_left_q <= 9'(gen_len) + 9'd1;
    else if (wvalid && data_ready_i) w_left_q <= w_left_q - 9'd1;
  end
  // The producer of write data keeps what has not been taken.
  always_comb if (w_held_q) assume (valid_i);

  always_comb begin
    if (rst_ni) begin
      if (held_q) assert (addr_valid && addr == addr_q && len == len_q);
      if (addr_valid && !held_q) assert (drawn_q && addr == drawn_addr_q && len == drawn_len_q);
      if (gen_valid) begin
        assert (active_q);
        assert (gen_len < 8'd16);
        assert (gen_addr[5:0] == '0);
        assert (13'(gen_addr[11:0]) + ((13'(gen_len) + 13'd1) << 6) <= 13'd4096);
        assert (gen_addr == row_q + (64'(sent_q) << 6));
        assert (33'(sent_q) + 33'(beats) <= 33'(job_q.bytes[31:6]));
      end
      assert (4'(addr_owed_q) + 4'(addr_valid) <= 4'(MaxOutstanding));
      if (!busy) assert (!addr_valid && !active_q && addr_owed_q == '0);
      if (Write && !busy) assert (w_left_q == '0);
      if (wvalid) begin
        assert (w_left_q != '0);
        assert (wlast == (w_left_q == 9'd1));
      end
      if (w_held_q) assert (wvalid);
      // What makes this inductive.
      assert (active_q == !gen_idle);
      assert (4'(dut_outstanding) == 4'(addr_owed_q) + 4'(addr_valid));
      if (active_q) begin
        assert (dut_row_addr == row_q && dut_rows == rows_left_q && dut_stride == job_q.stride);
        assert (dut_row_beats == job_q.bytes[31:6]);
        assert (dut_addr == row_q + (64'(sent_q) << 6));
        assert (dut_left == dut_row_beats - sent_q && sent_q < dut_row_beats);
        assert (rows_left_q != '0 && row_q[5:0] == '0 && job_q.stride[5:0] == '0);
      end
      if (Write) begin
        assert (dut_data_active == (w_left_q != '0));
        if (dut_data_active) assert (9'(dut_beats_left) + 9'd1 == w_left_q);
        assert (4'(dut_outstanding) == 4'(data_owed_q) + 4'(dut_data_active));
      end else begin
        assert (data_owed_q == '0);
      end
      cover (addr_owed_q == 3'(MaxOutstanding));
      cover (gen_valid && sent_q != '0 && gen_addr[11:0] == '0);
      cover (!busy && error && !held_q && drawn_len_q == 8'd3);
    end
  end

endmodule
