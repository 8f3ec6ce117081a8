// Streams of a computation.

bind pim_seq pim_handshake_check #(
  .Width($bits(pim_pkg::stream_t))
) u_stream_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(stream_valid_o),
  .ready_i(stream_ready_i),
  .drop_i(1'b0),
  .payload_i(stream_o)
);
