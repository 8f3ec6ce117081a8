// AXI4 write address and data. Write responses are always taken at once.

bind pim_dma_wr pim_handshake_check #(
  .Width(72)
) u_aw_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(m_axi_awvalid_o),
  .ready_i(m_axi_awready_i),
  .drop_i(1'b0),
  .payload_i({m_axi_awaddr_o, m_axi_awlen_o})
);

bind pim_dma_wr pim_handshake_check #(
  .Width(577)
) u_w_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(m_axi_wvalid_o),
  .ready_i(m_axi_wready_i),
  .drop_i(1'b0),
  .payload_i({m_axi_wdata_o, m_axi_wstrb_o, m_axi_wlast_o})
);
