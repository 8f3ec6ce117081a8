`default_nettype none

/// When a refresh is due, self-refresh, and the clock that the times of the banks are counted in.
///
/// Time is counted in DRAM clocks since the last refresh or wake-up. Because every rule that is kept
/// as a time ends with the refresh, the times are short and never wrap; without refresh (tREFI = 0)
/// they have 48 bits, days of time awake.
module pim_sched_refresh #(
  parameter int unsigned CkRatio = 4,
  parameter int unsigned StampBits = 16,
  parameter pim_pkg::timing_t Timing = '0
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  input  wire logic              wake_i,
  input  wire logic              sleep_i,
  /// Nothing is left to be done, every bank is closed, and REF may go out.
  input  wire logic              rest_i,
  /// Some bank is open.
  input  wire logic              any_open_i,
  /// REF goes out in this slot.
  input  wire logic              refresh_i,
  input  wire logic [$clog2(CkRatio)-1:0] slot_i,
  output logic                   awake_o,
  /// A refresh is due.
  output logic                   owed_o,
  output logic [StampBits-1:0]   now_o,
  /// The same of the next clock, when no refresh goes out in this one.
  output logic [StampBits-1:0]   soon_o
);

  localparam bit Refreshed = Timing.refi != '0;
  typedef logic [StampBits-1:0] stamp_t;

  if (2 * 32'(Timing.refi) + 32'(Timing.rfc) + 1024 >= 65536) begin : gen_check_refi
    $error("%m: tREFI too long for 16-bit stamps");
  end

  stamp_t now_q, soon_q;
  logic [15:0] refi_q;
  logic [3:0] owed_q;
  logic awake_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      awake_q <= 1'b0;
      now_q <= '0;
      soon_q <= stamp_t'(CkRatio);
      refi_q <= '0;
      owed_q <= '0;
    end else if (wake_i) begin
      awake_q <= 1'b1;
      now_q <= '0;
      soon_q <= stamp_t'(CkRatio);
      refi_q <= Timing.refi;
      owed_q <= 4'(Refreshed);
    end else if (awake_q) begin
      if (sleep_i && rest_i && !any_open_i && owed_q == '0) begin
        awake_q <= 1'b0;
      end
      now_q <= refresh_i ? stamp_t'(CkRatio) - stamp_t'(slot_i) : soon_q;
      soon_q <= (refresh_i ? stamp_t'(CkRatio) - stamp_t'(slot_i) : soon_q) + stamp_t'(CkRatio);
      if (Refreshed && refi_q <= 16'(CkRatio)) begin
        refi_q <= refi_q + Timing.refi - 16'(CkRatio);
        owed_q <= owed_q + 4'd1 - 4'(refresh_i);
      end else if (Refreshed) begin
        refi_q <= refi_q - 16'(CkRatio);
        owed_q <= owed_q - 4'(refresh_i);
      end
    end
  end

  assign awake_o = awake_q;
  assign owed_o = owed_q != '0;
  assign now_o = now_q;
  assign soon_o = soon_q;

endmodule

`default_nettype wire
