// Spans for the channel; a flush drops them.

bind pim_spans pim_handshake_check #(
  .Width($bits(pim_pkg::span_t))
) u_span_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(valid_o),
  .ready_i(ready_i),
  .drop_i(flush_i),
  .payload_i(span_o)
);
