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

  localparam int unsigned MaxBeats = 16;

  logic active_q;
  logic [63:0] row_addr_q, addr_q;
  logic [31:0] rows_q, stride_q;
  logic [25:0] row_beats_q, beats_left_q;

  logic [6:0] to_boundary;
  logic [4:0] beats;
  logic row_end;

  always_comb begin
    to_boundary = 7'd64 - {1'b0, addr_q[11:6]};
    beats = 5'(MaxBeats);
    if (to_boundary < 7'(MaxBeats)) beats = to_boundary[4:0];
    if (beats_left_q < 26'(beats)) beats = beats_left_q[4:0];
  end

  assign row_end = beats_left_q == 26'(beats);
  assign idle_o = !active_q;
  assign valid_o = active_q;
  assign addr_o = addr_q;
  assign len_o = 8'(beats - 5'd1);
  assign last_o = row_end && rows_q == 32'd1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      row_addr_q <= '0;
      addr_q <= '0;
      rows_q <= '0;
      row_beats_q <= '0;
      stride_q <= '0;
      beats_left_q <= '0;
    end else if (!active_q) begin
      if (start_i) begin
        active_q <= 1'b1;
        row_addr_q <= job_i.addr;
        addr_q <= job_i.addr;
        rows_q <= job_i.rows;
        row_beats_q <= job_i.bytes[31:6];
        stride_q <= job_i.stride;
        beats_left_q <= job_i.bytes[31:6];
      end
    end else if (ready_i) begin
      if (!row_end) begin
        addr_q <= addr_q + {53'd0, beats, 6'd0};
        beats_left_q <= beats_left_q - 26'(beats);
      end else if (rows_q != 32'd1) begin
        row_addr_q <= row_addr_q + 64'(stride_q);
        addr_q <= row_addr_q + 64'(stride_q);
        rows_q <= rows_q - 32'd1;
        beats_left_q <= row_beats_q;
      end else begin
        active_q <= 1'b0;
      end
    end
  end

endmodule

`default_nettype wire
