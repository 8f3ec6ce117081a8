// AXI4 read address. Read data are always taken at once.

bind pim_dma_rd pim_handshake_check #(
  .Width(72)
) u_ar_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(m_axi_arvalid_o),
  .ready_i(m_axi_arready_i),
  .drop_i(1'b0),
  .payload_i({m_axi_araddr_o, m_axi_arlen_o})
);
