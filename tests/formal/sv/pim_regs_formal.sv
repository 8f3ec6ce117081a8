/// pim_regs: the AXI4-Lite slave keeps the handshake rules, whatever master and device do.
///
/// A response stays until it is taken, with the same data; none comes without its request; none
/// is owed for more than two requests; every request is answered within `Patience` clocks.
module pim_regs_formal (
  input logic               clk_i,
  input logic [11:0]        awaddr_i,
  input logic               awvalid_i,
  input logic [31:0]        wdata_i,
  input logic [3:0]         wstrb_i,
  input logic               wvalid_i,
  input logic               bready_i,
  input logic [11:0]        araddr_i,
  input logic               arvalid_i,
  input logic               rready_i,
  input logic               busy_i,
  input logic               ended_i,
  input pim_isa_pkg::code_e end_code_i,
  input logic [63:0]        desc_addr_i,
  input logic [31:0]        desc_count_i,
  input logic [pim_isa_pkg::Counters-1:0][63:0] counters_i
);

  localparam int unsigned Patience = 2;

  logic rst_ni = 1'b0;
  always_ff @(posedge clk_i) rst_ni <= 1'b1;

  logic awready, wready, bvalid, arready, rvalid, irq, soft_reset, doorbell;
  logic [1:0] bresp, rresp;
  logic [31:0] rdata, chain_limit;
  logic [63:0] list, base, size;

  pim_regs u_dut (
    .clk_i, .rst_ni, .s_axil_awaddr_i(awaddr_i), .s_axil_awvalid_i(awvalid_i),
    .s_axil_awready_o(awready), .s_axil_wdata_i(wdata_i), .s_axil_wstrb_i(wstrb_i),
    .s_axil_wvalid_i(wvalid_i), .s_axil_wready_o(wready), .s_axil_bresp_o(bresp),
    .s_axil_bvalid_o(bvalid), .s_axil_bready_i(bready_i), .s_axil_araddr_i(araddr_i),
    .s_axil_arvalid_i(arvalid_i), .s_axil_arready_o(arready), .s_axil_rdata_o(rdata),
    .s_axil_rresp_o(rresp), .s_axil_rvalid_o(rvalid), .s_axil_rready_i(rready_i),
    .irq_o(irq), .soft_reset_o(soft_reset), .doorbell_o(doorbell), .list_o(list),
    .window_base_o(base), .window_size_o(size), .chain_limit_o(chain_limit), .busy_i, .ended_i,
    .end_code_i, .desc_addr_i, .desc_count_i, .counters_i
  );

  // ---- requests that wait for their response --------------------------------------------
  logic [1:0] aw_owed_q, w_owed_q, r_owed_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_owed_q <= '0;
      w_owed_q <= '0;
      r_owed_q <= '0;
    end else begin
      aw_owed_q <= aw_owed_q + 2'(awvalid_i && awready) - 2'(bvalid && bready_i);
      w_owed_q <= w_owed_q + 2'(wvalid_i && wready) - 2'(bvalid && bready_i);
      r_owed_q <= r_owed_q + 2'(arvalid_i && arready) - 2'(rvalid && rready_i);
    end
  end

  // ---- the clock before this one --------------------------------------------------------
  logic b_held_q, r_held_q, rang_q, idle_q;
  logic [31:0] rdata_q;
  logic [2:0] write_wait_q;
  always_ff @(posedge clk_i) begin
    b_held_q <= rst_ni && bvalid && !bready_i;
    r_held_q <= rst_ni && rvalid && !rready_i;
    rdata_q <= rdata;
    rang_q <= rst_ni && aw_owed_q != '0 && w_owed_q != '0;
    idle_q <= !busy_i || u_dut.dropping;
    // Clocks in which a whole write waits and no earlier response stands in its way.
    write_wait_q <= rst_ni && aw_owed_q != '0 && w_owed_q != '0 && !bvalid ? write_wait_q + 3'd1
                                                                          : '0;
  end

  always_comb begin
    if (rst_ni) begin
      if (b_held_q) assert (bvalid);
      if (r_held_q) assert (rvalid && rdata == rdata_q);
      if (bvalid) assert (aw_owed_q != '0 && w_owed_q != '0);
      assert (rvalid == (r_owed_q != '0));
      assert (r_owed_q <= 2'd1);
      assert (aw_owed_q <= 2'd2 && w_owed_q <= 2'd2);
      assert (bresp == 2'b00 && rresp == 2'b00);
      assert (write_wait_q < 3'(Patience));
      // A list is started by a write alone, and never while one is running.
      if (doorbell) assert (rang_q && idle_q);
      // What makes this inductive: what the counters are in the slave's own terms.
      assert (aw_owed_q == 2'(bvalid) + 2'(u_dut.aw_valid_q));
      assert (w_owed_q == 2'(bvalid) + 2'(u_dut.w_valid_q));
      cover (bvalid && !bready_i && aw_owed_q == 2'd2 && w_owed_q == 2'd2);
      cover (doorbell);
      cover (r_held_q && rready_i && rdata == pim_isa_pkg::DeviceId);
    end
  end

endmodule
