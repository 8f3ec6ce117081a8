// The oldest entry.

bind pim_fifo pim_handshake_check #(
  .Width(Width)
) u_out_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(valid_o),
  .ready_i(ready_i),
  .drop_i(1'b0),
  .payload_i(data_o)
);
