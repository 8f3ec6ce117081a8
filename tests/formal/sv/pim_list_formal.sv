/// pim_list: the list engine touches host memory inside the host window only, and every list ends.
///
/// pim_check is replaced by what pim_check_formal proves of it. Assumed besides: the window does
/// not change while a list is running, and the host writes no status word of a running list.
/// `watch_i` is any one address: once the device has written the status there, a descriptor at
/// that address is never executed again, so a loop in the chain ends at its first repetition; and
/// `chain_limit_i` bounds the list even if the host did re-arm descriptors.
module pim_list_formal #(
  /// Clocks within which DMA, checks and execution answer.
  parameter int unsigned Patience = 3
) (
  input logic               clk_i,
  input logic               doorbell_i,
  input logic [63:0]        list_i,
  input logic [63:0]        base_i,
  input logic [63:0]        size_i,
  input logic [31:0]        limit_i,
  input logic [63:0]        watch_i,
  input logic               asleep_i,
  input logic               rd_busy_i,
  input logic               rd_error_i,
  input logic               rd_valid_i,
  input logic [511:0]       rd_data_i,
  input logic               wr_busy_i,
  input logic               wr_error_i,
  input logic               wr_ready_i,
  input logic               check_done_i,
  input pim_isa_pkg::code_e check_code_i,
  input logic               copy_done_i,
  input pim_isa_pkg::code_e copy_code_i,
  input logic               seq_done_i
);

  logic rst_ni = 1'b0;
  always_ff @(posedge clk_i) rst_ni <= 1'b1;

  logic busy, ended, wake, sleep, rd_start, wr_start, wr_valid, check_start, copy_start, seq_start;
  logic clear, capture;
  pim_isa_pkg::code_e end_code;
  logic [63:0] desc_addr, strobe;
  logic [31:0] desc_count;
  logic [511:0] wr_data;
  pim_pkg::job_t job;
  pim_isa_pkg::descriptor_t desc;

  pim_list u_dut (
    .clk_i, .rst_ni, .doorbell_i, .list_i, .window_base_i(base_i), .window_size_i(size_i),
    .chain_limit_i(limit_i), .busy_o(busy), .ended_o(ended), .end_code_o(end_code),
    .desc_addr_o(desc_addr), .desc_count_o(desc_count), .wake_o(wake), .sleep_o(sleep), .asleep_i,
    .rd_start_o(rd_start), .rd_busy_i, .rd_error_i, .rd_valid_i, .rd_data_i,
    .wr_start_o(wr_start), .wr_strobe_o(strobe), .wr_busy_i, .wr_error_i, .wr_valid_o(wr_valid),
    .wr_ready_i, .wr_data_o(wr_data), .job_o(job), .check_start_o(check_start), .check_done_i,
    .check_code_i, .copy_start_o(copy_start), .copy_done_i, .copy_code_i, .seq_start_o(seq_start),
    .seq_done_i, .desc_o(desc), .count_clear_o(clear), .count_capture_o(capture), .count_i('0),
    .count_cycles_i('0)
  );

  // Numbers of the engine's states, in their order.
  localparam logic [3:0] StIdle = 4'd0, StFirst = 4'd1, StFetch = 4'd2, StFetched = 4'd3,
      StCheck = 4'd4, StExecute = 4'd5, StRecorded = 4'd7, StStatus = 4'd8, StWritten = 4'd9,
      StSleep = 4'd10;
  logic [3:0] state;
  assign state = u_dut.state_q;

  // ---- what stays, what the other blocks promise ----------------------------------------
  logic [63:0] base_q, size_q, watch_q;
  logic [31:0] limit_q;
  logic any_q;
  always_ff @(posedge clk_i) begin
    base_q <= base_i;
    size_q <= size_i;
    limit_q <= limit_i;
    watch_q <= watch_i;
    any_q <= 1'b1;
  end

  logic [63:0] next;
  logic is_end;
  assign next = {desc.next_hi, desc.next_lo};
  assign is_end = desc.control.opcode == pim_isa_pkg::OpcodeEnd;

  logic [7:0] wait_q;  // clocks in this state
  logic [3:0] state_q;
  always_ff @(posedge clk_i) begin
    state_q <= state;
    if (!rst_ni || !busy || state_q != state) wait_q <= '0;
    else if (wait_q != '1) wait_q <= wait_q + 8'd1;
  end
  logic late;
  assign late = busy && state_q == state && wait_q >= 8'(Patience);

  logic seen_q;  // this descriptor's data have come
  always_ff @(posedge clk_i) begin
    if (state != StFetched) seen_q <= 1'b0;
    else if (rd_valid_i) seen_q <= 1'b1;
  end

  logic written_q;
  always_comb begin
    if (rst_ni && any_q && busy) begin
      assume (base_i == base_q && size_i == size_q && limit_i == limit_q);
    end
    if (any_q) assume (watch_i == watch_q);
    // A read brings one beat, or an error, before it is no longer busy.
    if (rd_valid_i) assume (state == StFetched && rd_busy_i && !seen_q && !rd_error_i);
    if (state == StFetched && !rd_busy_i) assume (seen_q || rd_error_i);
    if (late) begin
      assume (!rd_busy_i && !wr_busy_i && wr_ready_i && asleep_i);
      if (state == StCheck) assume (check_done_i);
      if (state == StExecute) assume (copy_done_i || seq_done_i);
    end
    if (state != StCheck) assume (!check_done_i);
    if (check_done_i) begin
      assume (check_code_i != pim_isa_pkg::CodePending);
      if (check_code_i == pim_isa_pkg::CodeDone) begin
        assume (is_end || (next[5:0] == '0 && window_pkg::has(base_i, size_i, next, 8'd64)));
        assume (!desc.control.record || window_pkg::has(base_i, size_i, desc_addr, 8'd128));
      end
    end
    if (copy_done_i) assume (copy_code_i != pim_isa_pkg::CodePending);
    // Memory keeps what was written to it.
    if (rd_valid_i && written_q && desc_addr == watch_i) assume (rd_data_i[511:480] != '0);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || !busy) written_q <= 1'b0;
    else if (state == StWritten && wr_valid && wr_ready_i && desc_addr == watch_i) begin
      written_q <= 1'b1;
    end
  end

  // ---- claims ---------------------------------------------------------------------------
  always_comb begin
    if (rst_ni) begin
      if (rd_start || wr_start) begin
        assert (window_pkg::has(base_i, size_i, job.addr, 8'd64));
        assert (job.addr[5:0] == '0 && job.bytes == 32'd64 && job.rows == 32'd1);
      end
      if (wr_start && state == StStatus) assert (strobe == 64'hF000_0000_0000_0000);
      if (state == StWritten && wr_valid) assert (wr_data[487:480] != '0);
      // Executed descriptors: fewer than the limit, and none a second time.
      if (check_start) assert (desc_count < limit_i);
      if (check_start && desc_addr == watch_i) assert (!written_q);
      // One of these at a time, and only for a descriptor that was found good.
      assert (!(copy_start && seq_start));
      // Every state is left in time; only the next descriptor leads back, with a higher index.
      if (busy && state_q == state) assert (wait_q <= 8'(Patience) + 8'd2);
      // What makes this inductive.
      assert (state <= 4'd11);
      if (state >= StFetch && state <= StWritten) begin
        assert (window_pkg::has(base_i, size_i, desc_addr, 8'd64) && desc_addr[5:0] == '0);
      end
      if (state >= StCheck && state <= StWritten && u_dut.code_q == pim_isa_pkg::CodeDone &&
          !is_end) begin
        assert (state == StCheck ||
                (next[5:0] == '0 && window_pkg::has(base_i, size_i, next, 8'd64)));
      end
      if (state > StCheck && state < StStatus && desc.control.record) begin
        assert (window_pkg::has(base_i, size_i, desc_addr, 8'd128));
      end
      if (state == StCheck) assert (u_dut.code_q == pim_isa_pkg::CodePending);
      if (state == StExecute) assert (u_dut.code_q == pim_isa_pkg::CodeDone);
      if (state >= StStatus && state <= StWritten) begin
        assert (u_dut.code_q != pim_isa_pkg::CodePending);
      end
      if (state > StExecute && state < StStatus) begin
        assert (u_dut.code_q != pim_isa_pkg::CodePending && desc.control.record);
      end
      if (state == StFetched && seen_q) begin
        assert (u_dut.code_q == pim_isa_pkg::CodePending ? desc_count < limit_i : 1'b1);
        if (u_dut.code_q == pim_isa_pkg::CodePending) begin
          assert (!(written_q && desc_addr == watch_i));
        end
      end
      if (state == StFetched) assert (u_dut.code_q != pim_isa_pkg::CodeDone);
      if (state == StFetched && !seen_q) assert (u_dut.code_q == pim_isa_pkg::CodePending);
      if (state == StFirst) assert (u_dut.code_q == pim_isa_pkg::CodePending);
      cover (ended && end_code == pim_isa_pkg::CodeDone && desc_count == 32'd2);
      cover (ended && end_code == pim_isa_pkg::CodeLoop && desc_count == 32'd2);
      cover (ended && end_code == pim_isa_pkg::CodeChain && limit_i != '0);
      cover (state == StRecorded && wr_valid);
    end
  end

endmodule
