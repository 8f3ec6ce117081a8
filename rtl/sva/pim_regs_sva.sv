// AXI4-Lite: what the host offers, and the responses.

bind pim_regs pim_handshake_check #(
  .Width(12)
) u_aw_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(s_axil_awvalid_i),
  .ready_i(s_axil_awready_o),
  .drop_i(1'b0),
  .payload_i(s_axil_awaddr_i)
);

bind pim_regs pim_handshake_check #(
  .Width(36)
) u_w_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(s_axil_wvalid_i),
  .ready_i(s_axil_wready_o),
  .drop_i(1'b0),
  .payload_i({s_axil_wdata_i, s_axil_wstrb_i})
);

bind pim_regs pim_handshake_check #(
  .Width(2)
) u_b_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(s_axil_bvalid_o),
  .ready_i(s_axil_bready_i),
  .drop_i(1'b0),
  .payload_i(s_axil_bresp_o)
);

bind pim_regs pim_handshake_check #(
  .Width(12)
) u_ar_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(s_axil_arvalid_i),
  .ready_i(s_axil_arready_o),
  .drop_i(1'b0),
  .payload_i(s_axil_araddr_i)
);

bind pim_regs pim_handshake_check #(
  .Width(34)
) u_r_check (
  .clk_i(clk_i),
  .rst_ni(rst_ni),
  .valid_i(s_axil_rvalid_o),
  .ready_i(s_axil_rready_i),
  .drop_i(1'b0),
  .payload_i({s_axil_rdata_o, s_axil_rresp_o})
);
