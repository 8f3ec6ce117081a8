/// Stand-in for the device in the tests of the simulator: a register file and an AXI copier.
///
/// It has the ports and parameters of the real `pim_top`, so the same test bench, main loop and
/// device server run with it, but does nothing that a PIM device does: a doorbell starts one of
/// four actions (MODE). It keeps four bursts of each direction in flight, which is what the
/// memory slave has to stand, and it counts the most it had outstanding.
///
///   0x000 ID       0x54455354            0x030 BURSTS   bursts to copy
///   0x008 CTRL     0: reset 1: interrupt 0x034 BEATS    beats of a burst, minus one
///   0x00C STATUS   0: busy 15:8: resp    0x038 MODE     0 copy, 1 wait, 2 for ever, 3 assertion
///   0x010 IRQ      w1c                   0x03C WAIT     cycles of MODE 1
///   0x014 DOORBELL                       0x040 MAX_RD   most reads outstanding
///   0x018/01C SOURCE address             0x044 MAX_WR   most writes outstanding
///   0x020/024 TARGET address             0x048 CYCLES   of the last action
/* verilator lint_off UNUSEDPARAM */
// The parameters are there to fit the test bench; a copier has no use for them.
module pim_top #(
    parameter int AllBank = 0, Banks = 16, BankGroups = 4, RowBytes = 8192, AtomBytes = 64,
    Rows = 4096, CkRatio = 4, Lanes = 32, RowsPerBeat = 1, AccGroups = 16, ScalarDepth = 4096,
    LaneLatency = 4, VectorSetup = 0, TransposeWays = 1, NativeLanes = 0, TckFs = 833333,
    // generated:parameters
    parameter int TRcdRd = 17,
    parameter int TRcdWr = 17,
    parameter int TRp = 17,
    parameter int TRas = 39,
    parameter int TRc = 56,
    parameter int TCcdS = 4,
    parameter int TCcdL = 6,
    parameter int TRrdS = 4,
    parameter int TRrdL = 6,
    parameter int TFaw = 26,
    parameter int TWr = 18,
    parameter int TRtp = 9,
    parameter int TWtrS = 3,
    parameter int TWtrL = 9,
    parameter int TRefi = 9360,
    parameter int TRfc = 420,
    parameter int TXs = 432,
    parameter int TXsdll = 768,
    parameter int TCl = 17,
    parameter int TCwl = 12,
    parameter int TBl = 4
    // end generated
) (
    /* verilator lint_on UNUSEDPARAM */
    input logic clk_i,
    input logic rst_ni,

    input  logic [11:0] s_axil_awaddr,
    input  logic        s_axil_awvalid,
    output logic        s_axil_awready,
    input  logic [31:0] s_axil_wdata,
    /* verilator lint_off UNUSEDSIGNAL */
    input  logic [ 3:0] s_axil_wstrb,    // always 4'b1111
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic        s_axil_wvalid,
    output logic        s_axil_wready,
    output logic [ 1:0] s_axil_bresp,
    output logic        s_axil_bvalid,
    input  logic        s_axil_bready,
    input  logic [11:0] s_axil_araddr,
    input  logic        s_axil_arvalid,
    output logic        s_axil_arready,
    output logic [31:0] s_axil_rdata,
    output logic [ 1:0] s_axil_rresp,
    output logic        s_axil_rvalid,
    input  logic        s_axil_rready,

    output logic [ 63:0] m_axi_araddr,
    output logic [  7:0] m_axi_arlen,
    output logic [  2:0] m_axi_arsize,
    output logic [  1:0] m_axi_arburst,
    output logic         m_axi_arvalid,
    input  logic         m_axi_arready,
    input  logic [511:0] m_axi_rdata,
    input  logic [  1:0] m_axi_rresp,
    input  logic         m_axi_rlast,
    input  logic         m_axi_rvalid,
    output logic         m_axi_rready,
    output logic [ 63:0] m_axi_awaddr,
    output logic [  7:0] m_axi_awlen,
    output logic [  2:0] m_axi_awsize,
    output logic [  1:0] m_axi_awburst,
    output logic         m_axi_awvalid,
    input  logic         m_axi_awready,
    output logic [511:0] m_axi_wdata,
    output logic [ 63:0] m_axi_wstrb,
    output logic         m_axi_wlast,
    output logic         m_axi_wvalid,
    input  logic         m_axi_wready,
    input  logic [  1:0] m_axi_bresp,
    input  logic         m_axi_bvalid,
    output logic         m_axi_bready,

    output logic irq_o,
    output logic busy_o,
    output logic bus_rst_no,

    // The memory port, not used.
    output pim_pkg::dram_cmd_e mem_row_cmd_o, mem_col_cmd_o,
    output logic mem_row_all_o, mem_col_all_o, mem_wake_o, mem_asleep_o,
    output logic [$clog2(Banks)-1:0] mem_row_bank_o, mem_col_bank_o,
    output logic [$clog2(Rows)-1:0] mem_row_row_o, mem_col_row_o,
    output logic [$clog2(CkRatio)-1:0] mem_row_slot_o, mem_col_slot_o,
    output logic [$clog2(RowBytes/AtomBytes)-1:0] mem_col_column_o,
    output pim_pkg::access_t mem_read_o, mem_write_o,
    /* verilator lint_off UNUSEDSIGNAL */
    input logic [(AllBank*(Banks-1)+1)*AtomBytes*8-1:0] mem_read_data_i,
    /* verilator lint_on UNUSEDSIGNAL */
    output logic [(AllBank*(Banks-1)+1)*AtomBytes*8-1:0] mem_write_data_o
);

  assign {mem_row_cmd_o, mem_col_cmd_o} = {pim_pkg::CmdNop, pim_pkg::CmdNop};
  assign {mem_row_all_o, mem_row_bank_o, mem_row_row_o, mem_row_slot_o} = '0;
  assign {mem_col_all_o, mem_col_bank_o, mem_col_row_o, mem_col_slot_o, mem_col_column_o} = '0;
  assign {mem_wake_o, mem_asleep_o, mem_read_o, mem_write_o, mem_write_data_o} = '0;

  localparam int Slots = 4;  // bursts in flight

  logic [31:0] regs_q[16];
  logic irq_q, busy_q;
  logic [2:0] reset_q;  // cycles of soft reset to come
  logic [1:0] resp_q;
  logic [31:0] cycles_q, max_reads_q, max_writes_q;
  wire rst_n = rst_ni && reset_q == 0;

  wire [63:0] source = {regs_q[7], regs_q[6]};
  wire [63:0] target = {regs_q[9], regs_q[8]};
  wire [31:0] bursts = regs_q[12];
  wire [7:0] last = regs_q[13][7:0];
  wire [31:0] mode = regs_q[14];

  // ---- Registers.

  wire write = s_axil_awvalid && s_axil_wvalid && s_axil_awready;
  wire doorbell = write && s_axil_awaddr == 12'h014 && !busy_q;
  assign s_axil_awready = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
  assign s_axil_wready = s_axil_awready;
  assign s_axil_bresp = s_axil_awaddr >= 12'h200 ? 2'b10 : 2'b00;
  assign s_axil_arready = !s_axil_rvalid;
  assign irq_o = irq_q && regs_q[2][1];
  assign busy_o = busy_q;
  assign bus_rst_no = reset_q == 0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s_axil_bvalid <= 1'b0;
      s_axil_rvalid <= 1'b0;
      reset_q <= '0;
      for (int i = 0; i < 16; i++) regs_q[i] <= '0;
    end else begin
      if (reset_q != 0) reset_q <= reset_q - 1'b1;
      if (s_axil_bready) s_axil_bvalid <= 1'b0;
      if (s_axil_rready) s_axil_rvalid <= 1'b0;
      if (write) begin
        s_axil_bvalid <= 1'b1;
        if (s_axil_awaddr < 12'h040) regs_q[s_axil_awaddr[5:2]] <= s_axil_wdata;
        if (s_axil_awaddr == 12'h008 && s_axil_wdata[0]) reset_q <= 3'd4;
      end
      if (s_axil_arvalid && s_axil_arready) begin
        s_axil_rvalid <= 1'b1;
        s_axil_rresp <= s_axil_araddr >= 12'h200 ? 2'b10 : 2'b00;
        case (s_axil_araddr)
          12'h000: s_axil_rdata <= 32'h54455354;
          12'h00C: s_axil_rdata <= {22'b0, resp_q, 7'b0, busy_q};
          12'h010: s_axil_rdata <= {31'b0, irq_q};
          12'h040: s_axil_rdata <= max_reads_q;
          12'h044: s_axil_rdata <= max_writes_q;
          12'h048: s_axil_rdata <= cycles_q;
          default: s_axil_rdata <= regs_q[s_axil_araddr[5:2]];
        endcase
      end
    end
  end

  // ---- The copier: counts of bursts asked for, received, announced, sent and acknowledged.

  logic [511:0] buffer_q[Slots*16];
  logic [31:0] asked_q, got_q, announced_q, sent_q, acked_q;
  logic [7:0] got_beat_q, sent_beat_q;
  wire copying = busy_q && mode == 0;

  assign m_axi_araddr = source + 64'(asked_q) * 64 * (64'(last) + 1);
  assign m_axi_arlen = last;
  assign m_axi_arsize = 3'd6;
  assign m_axi_arburst = 2'b01;
  assign m_axi_arvalid = copying && asked_q != bursts && asked_q - sent_q != Slots;
  assign m_axi_rready = copying;
  assign m_axi_awaddr = target + 64'(announced_q) * 64 * (64'(last) + 1);
  assign m_axi_awlen = last;
  assign m_axi_awsize = 3'd6;
  assign m_axi_awburst = 2'b01;
  assign m_axi_awvalid = copying && announced_q != got_q && announced_q - acked_q != Slots;
  assign m_axi_wdata = buffer_q[{sent_q[1:0], sent_beat_q[3:0]}];
  assign m_axi_wstrb = '1;
  assign m_axi_wlast = sent_beat_q == last;
  assign m_axi_wvalid = copying && sent_q != announced_q;
  assign m_axi_bready = copying;

  wire waited = cycles_q == regs_q[15];
  wire done = mode == 1 ? waited : mode == 0 && acked_q == bursts;

  always_ff @(posedge clk_i) begin
    if (!rst_n) begin
      irq_q <= 1'b0;
      busy_q <= 1'b0;
      resp_q <= '0;
      cycles_q <= '0;
    end else begin
      if (write && s_axil_awaddr == 12'h010 && s_axil_wdata[0]) irq_q <= 1'b0;
      if (doorbell) begin
        busy_q <= 1'b1;
        cycles_q <= '0;
        resp_q <= '0;
        asked_q <= '0;
        got_q <= '0;
        announced_q <= '0;
        sent_q <= '0;
        acked_q <= '0;
        got_beat_q <= '0;
        sent_beat_q <= '0;
        max_reads_q <= '0;
        max_writes_q <= '0;
      end else if (busy_q) begin
        cycles_q <= cycles_q + 1;
        if (done) begin
          busy_q <= 1'b0;
          irq_q <= 1'b1;
        end
        assert (mode != 3)
        else $error("the action that fails was started");
      end
      if (copying) begin
        if (m_axi_arvalid && m_axi_arready) asked_q <= asked_q + 1;
        if (m_axi_rvalid) begin
          buffer_q[{got_q[1:0], got_beat_q[3:0]}] <= m_axi_rdata;
          got_beat_q <= m_axi_rlast ? 8'd0 : got_beat_q + 1'b1;
          if (m_axi_rlast) got_q <= got_q + 1;
          if (m_axi_rresp > resp_q) resp_q <= m_axi_rresp;
        end
        if (m_axi_awvalid && m_axi_awready) announced_q <= announced_q + 1;
        if (m_axi_wvalid && m_axi_wready) begin
          sent_beat_q <= m_axi_wlast ? 8'd0 : sent_beat_q + 1'b1;
          if (m_axi_wlast) sent_q <= sent_q + 1;
        end
        if (m_axi_bvalid) begin
          acked_q <= acked_q + 1;
          if (m_axi_bresp > resp_q) resp_q <= m_axi_bresp;
        end
        if (asked_q - got_q > max_reads_q) max_reads_q <= asked_q - got_q;
        if (announced_q - acked_q > max_writes_q) max_writes_q <= announced_q - acked_q;
      end
    end
  end

endmodule
