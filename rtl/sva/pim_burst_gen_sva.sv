// Bursts of a DMA engine.

bind pim_burst_gen pim_handshake_check #(
  .Width(73)
) u_bursts_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(valid_o),
  .ready_i(ready_i),
  .drop_i(1'b0),
  .payload_i({addr_o, len_o, last_o})
);
