`default_nettype none

/// Cuts a two-dimensional transfer into AXI4 INCR bursts of 64-byte beats.
///
/// A burst has at most 16 beats and never crosses a 4 KiB boundary (AXI4, A3.4.1). One burst
/// is offered at a time; the next one follows one clock after it is taken. A job is taken only
/// when the last burst of the previous one has gone (`idle_o`).
module pim_burst_gen (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  /// Job to cut; taken when `start_i` while idle.
  input  wire logic              start_i,
  input  wire pim_pkg::job_t     job_i,
  output logic                   idle_o,
  /// Burst: address and beats minus one.
  output logic                   valid_o,
  input  wire logic              ready_i,
  output logic      [63:0]       addr_o,
  output logic      [7:0]        len_o,
  output logic                   last_o
);

  logic active_q;
  logic [63:0] row_addr_q, addr_q;
  logic [31:0] rows_q, stride_q;
  logic [25:0] row_last_q, left_q;  // beats of a row, beats left in this one, both minus one

  // A burst of the middle of a row has 16 beats or ends with its 4 KiB: beats, minus one. So
  // where the next one starts does not wait for how long this one is.
  logic near_end, row_end;
  logic [3:0] room, len;

  assign near_end = addr_q[11:10] == 2'b11;
  assign room = near_end ? ~addr_q[9:6] : 4'd15;
  assign row_end = left_q[25:4] == '0 && left_q[3:0] <= room;
  assign len = row_end ? left_q[3:0] : room;

  assign idle_o = !active_q;
  assign valid_o = active_q;
  assign addr_o = addr_q;
  assign len_o = 8'(len);
  assign last_o = row_end && rows_q == 32'd1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      row_addr_q <= '0;
      addr_q <= '0;
      rows_q <= '0;
      row_last_q <= '0;
      stride_q <= '0;
      left_q <= '0;
    end else if (!active_q) begin
      if (start_i) begin
        active_q <= 1'b1;
        row_addr_q <= job_i.addr;
        addr_q <= job_i.addr;
        rows_q <= job_i.rows;
        row_last_q <= job_i.bytes[31:6] - 26'd1;
        stride_q <= job_i.stride;
        left_q <= job_i.bytes[31:6] - 26'd1;
      end
    end else if (ready_i) begin
      if (!row_end) begin
        addr_q[63:10] <= addr_q[63:10] + 54'd1;
        if (near_end) addr_q[9:0] <= '0;
        // Less room + 1.
        left_q <= left_q + ~26'(room);
      end else if (rows_q != 32'd1) begin
        row_addr_q <= row_addr_q + 64'(stride_q);
        addr_q <= row_addr_q + 64'(stride_q);
        rows_q <= rows_q - 32'd1;
        left_q <= row_last_q;
      end else begin
        active_q <= 1'b0;
      end
    end
  end

endmodule

`default_nettype wire
