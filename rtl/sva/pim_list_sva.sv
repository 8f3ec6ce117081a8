// Records and status words for the DMA.

bind pim_list pim_handshake_check #(
  .Width(512)
) u_wr_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(wr_valid_o),
  .ready_i(wr_ready_i),
  .drop_i(1'b0),
  .payload_i(wr_data_o)
);
