`default_nettype none

/// A valid/ready handshake keeps its rules: valid stays until ready, what it offers stays too, and
/// nothing is unknown. Bound to the module that drives it, or that it ends in (`*_sva.sv`).
module pim_handshake_check #(
  /// Bits of what is offered.
  parameter int unsigned Width = 1
) (
  input wire logic             clk_i,
  input wire logic             rst_ni,
  input wire logic             valid_i,
  input wire logic             ready_i,
  /// What waits in this clock may be taken back.
  input wire logic             drop_i,
  input wire logic [Width-1:0] payload_i
);

  // Something waits since an earlier clock, and this is it: written once for a wait, so that a long
  // one costs a simulator little. Nothing waits before the first clock, when there was no reset yet.
  logic waits_q;
  initial waits_q = 1'b0;
  logic [Width-1:0] offered_q;

  always_ff @(posedge clk_i) begin
    waits_q <= rst_ni && valid_i && !ready_i && !drop_i;
    if (valid_i && !ready_i && !waits_q) offered_q <= payload_i;
  end

  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!$isunknown({valid_i, ready_i}))
      else $fatal(1, "handshake: valid or ready is unknown: %m");
      if (valid_i) begin
        assert (!$isunknown(payload_i))
        else $fatal(1, "handshake: what is offered is unknown: %m");
      end
      if (waits_q) begin
        assert (valid_i)
        else $fatal(1, "handshake: valid fell before ready: %m");
        assert (!valid_i || payload_i == offered_q)
        else $fatal(1, "handshake: what is offered changed before ready: %m");
      end
    end
  end

endmodule

`default_nettype wire
