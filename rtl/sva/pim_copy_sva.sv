// Data for the DMA, and streams; an error of the bus ends both.

bind pim_copy pim_handshake_check #(
  .Width(512)
) u_wr_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(wr_valid_o),
  .ready_i(wr_ready_i),
  .drop_i(wr_error_i),
  .payload_i(wr_data_o)
);

bind pim_copy pim_handshake_check #(
  .Width($bits(pim_pkg::stream_t))
) u_stream_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(stream_valid_o),
  .ready_i(stream_ready_i),
  .drop_i(is_in ? rd_error_i : wr_error_i),
  .payload_i(stream_o)
);
