`default_nettype none

/// AXI4-Lite register file. Offsets and meanings: pim_isa_pkg and README.md.
///
/// Write address and write data may come in any order; each access takes at least two clocks.
/// A register that does not exist reads as 0 and ignores writes; byte strobes are obeyed.
/// Every response is OKAY.
module pim_regs #(
  /// Constants that describe the device, in the order of the registers CAPACITY_LO...
  parameter longint unsigned Capacity = 512 * 1024 * 1024,
  parameter logic [31:0] Style = '0,
  parameter int unsigned Banks = 16,
  parameter int unsigned BankGroups = 4,
  parameter int unsigned RowBytes = 8192,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned Lanes = 32,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096,
  parameter int unsigned CkRatio = 4,
  parameter int unsigned TckFs = 833333,
  parameter int unsigned LaneLatency = 4,
  parameter int unsigned RowsPerBeat = 1,
  parameter int unsigned TransposeWays = 1
) (
  input  wire logic               clk_i,
  input  wire logic               rst_ni,

  input  wire logic [11:0]        s_axil_awaddr_i,
  input  wire logic               s_axil_awvalid_i,
  output logic                    s_axil_awready_o,
  input  wire logic [31:0]        s_axil_wdata_i,
  input  wire logic [3:0]         s_axil_wstrb_i,
  input  wire logic               s_axil_wvalid_i,
  output logic                    s_axil_wready_o,
  output logic      [1:0]         s_axil_bresp_o,
  output logic                    s_axil_bvalid_o,
  input  wire logic               s_axil_bready_i,
  input  wire logic [11:0]        s_axil_araddr_i,
  input  wire logic               s_axil_arvalid_i,
  output logic                    s_axil_arready_o,
  output logic      [31:0]        s_axil_rdata_o,
  output logic      [1:0]         s_axil_rresp_o,
  output logic                    s_axil_rvalid_o,
  input  wire logic               s_axil_rready_i,

  output logic                    irq_o,
  /// Pulse: reset everything but this block.
  output logic                    soft_reset_o,
  /// Pulse: start the list at `list_o`.
  output logic                    doorbell_o,
  output logic      [63:0]        list_o,
  output logic      [63:0]        window_base_o,
  output logic      [63:0]        window_size_o,
  output logic      [31:0]        chain_limit_o,

  input  wire logic               busy_i,
  /// Pulse: a list has ended, with this code.
  input  wire logic               ended_i,
  input  wire pim_isa_pkg::code_e end_code_i,
  input  wire logic [63:0]        desc_addr_i,
  input  wire logic [31:0]        desc_count_i,
  /// Totals, in the order of pim_isa_pkg::Counter...
  input  wire logic [pim_isa_pkg::Counters-1:0][63:0] counters_i
);

  localparam pim_isa_pkg::banks_t BanksWord = '{groups: 16'(BankGroups), count: 16'(Banks)};

  logic aw_valid_q, w_valid_q;
  logic [11:0] aw_addr_q;
  logic [31:0] w_data_q, w_mask_q;
  logic write;

  logic irq_enable_q, irq_q, error_q;
  pim_isa_pkg::code_e code_q;
  logic [63:0] list_q, base_q, size_q;
  logic [31:0] limit_q, dropped_q, high_q;
  logic read;

  assign s_axil_awready_o = !aw_valid_q;
  assign s_axil_wready_o = !w_valid_q;
  assign s_axil_bresp_o = 2'b00;
  assign s_axil_arready_o = !s_axil_rvalid_o;
  assign s_axil_rresp_o = 2'b00;
  assign write = aw_valid_q && w_valid_q && !s_axil_bvalid_o;
  assign read = s_axil_arvalid_i && s_axil_arready_o;

  // The core is in reset one clock after the pulse; until then its list counts as dropped.
  logic soft_reset_q, dropping;
  assign dropping = soft_reset_o || soft_reset_q;

  assign irq_o = irq_q && irq_enable_q;
  assign list_o = list_q;
  assign window_base_o = base_q;
  assign window_size_o = size_q;
  assign chain_limit_o = limit_q;

  function automatic logic [31:0] merge(logic [31:0] old);
    return (old & ~w_mask_q) | (w_data_q & w_mask_q);
  endfunction

  // Whether a bit is written as 1.
  function automatic logic set(int unsigned index);
    return w_data_q[index[4:0]] && w_mask_q[index[4:0]];
  endfunction

  // ---- write side -----------------------------------------------------------------------
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_valid_q <= 1'b0;
      aw_addr_q <= '0;
      w_valid_q <= 1'b0;
      w_data_q <= '0;
      w_mask_q <= '0;
      s_axil_bvalid_o <= 1'b0;
      irq_enable_q <= 1'b0;
      irq_q <= 1'b0;
      error_q <= 1'b0;
      code_q <= pim_isa_pkg::CodePending;
      list_q <= '0;
      base_q <= '0;
      size_q <= '0;
      limit_q <= pim_isa_pkg::ResetChainLimit;
      dropped_q <= '0;
      soft_reset_o <= 1'b0;
      soft_reset_q <= 1'b0;
      doorbell_o <= 1'b0;
    end else begin
      soft_reset_o <= 1'b0;
      soft_reset_q <= soft_reset_o;
      doorbell_o <= 1'b0;
      if (s_axil_awvalid_i && s_axil_awready_o) begin
        aw_valid_q <= 1'b1;
        aw_addr_q <= {s_axil_awaddr_i[11:2], 2'b00};
      end
      if (s_axil_wvalid_i && s_axil_wready_o) begin
        w_valid_q <= 1'b1;
        w_data_q <= s_axil_wdata_i;
        for (int unsigned i = 0; i < 4; i++) w_mask_q[i*8+:8] <= {8{s_axil_wstrb_i[i]}};
      end
      if (s_axil_bvalid_o && s_axil_bready_i) s_axil_bvalid_o <= 1'b0;
      if (ended_i && !dropping) begin
        irq_q <= 1'b1;
        error_q <= end_code_i != pim_isa_pkg::CodeDone;
        code_q <= end_code_i == pim_isa_pkg::CodeDone ? pim_isa_pkg::CodePending : end_code_i;
      end
      if (write) begin
        aw_valid_q <= 1'b0;
        w_valid_q <= 1'b0;
        s_axil_bvalid_o <= 1'b1;
        unique case (aw_addr_q)
          pim_isa_pkg::RegCtrl: begin
            soft_reset_o <= set(pim_isa_pkg::BitCtrlSoftReset);
            if (w_mask_q[pim_isa_pkg::BitCtrlIrqEnable]) begin
              irq_enable_q <= w_data_q[pim_isa_pkg::BitCtrlIrqEnable];
            end
            if (set(pim_isa_pkg::BitCtrlSoftReset)) begin
              irq_q <= 1'b0;
              error_q <= 1'b0;
              code_q <= pim_isa_pkg::CodePending;
            end
          end
          pim_isa_pkg::RegIrq: if (set(pim_isa_pkg::BitIrqEnded) && !ended_i) irq_q <= 1'b0;
          pim_isa_pkg::RegDoorbell: begin
            if ((busy_i && !dropping) || doorbell_o) dropped_q <= dropped_q + 32'd1;
            else begin
              doorbell_o <= 1'b1;
              error_q <= 1'b0;
              code_q <= pim_isa_pkg::CodePending;
            end
          end
          pim_isa_pkg::RegListLo: list_q[31:0] <= merge(list_q[31:0]);
          pim_isa_pkg::RegListHi: list_q[63:32] <= merge(list_q[63:32]);
          pim_isa_pkg::RegHostBaseLo: base_q[31:0] <= merge(base_q[31:0]);
          pim_isa_pkg::RegHostBaseHi: base_q[63:32] <= merge(base_q[63:32]);
          pim_isa_pkg::RegHostSizeLo: size_q[31:0] <= merge(size_q[31:0]);
          pim_isa_pkg::RegHostSizeHi: size_q[63:32] <= merge(size_q[63:32]);
          pim_isa_pkg::RegChainLimit: limit_q <= merge(limit_q);
          default: ;
        endcase
      end
      if (soft_reset_o) begin
        list_q <= '0;
        base_q <= '0;
        size_q <= '0;
        limit_q <= pim_isa_pkg::ResetChainLimit;
        dropped_q <= '0;
      end
    end
  end

  // ---- read side ------------------------------------------------------------------------
  // Pairs of words from CNT_CYCLES_LO on; the upper half is latched with the lower one.
  localparam int unsigned FirstCounter = 32'(pim_isa_pkg::RegCntCyclesLo);
  logic is_counter;
  logic [$clog2(pim_isa_pkg::Counters)-1:0] counter;
  assign is_counter = 32'(s_axil_araddr_i) >= FirstCounter &&
      32'(s_axil_araddr_i) < FirstCounter + 8 * pim_isa_pkg::Counters;
  assign counter = s_axil_araddr_i[3+:$bits(counter)];

  // A function, so that it is evaluated only when a register is read.
  function automatic logic [31:0] read_data();
    read_data = '0;
    if (is_counter) begin
      read_data = s_axil_araddr_i[2] ? high_q : counters_i[counter][31:0];
    end else begin
      unique case ({s_axil_araddr_i[11:2], 2'b00})
        pim_isa_pkg::RegId: read_data = pim_isa_pkg::DeviceId;
        pim_isa_pkg::RegVersion: read_data = pim_isa_pkg::DeviceVersion;
        pim_isa_pkg::RegCtrl: begin
          read_data = pim_isa_pkg::ctrl_t'{irq_enable: irq_enable_q, default: '0};
        end
        pim_isa_pkg::RegStatus: begin
          read_data = pim_isa_pkg::status_t'{
              code: code_q, failed: error_q, running: busy_i, default: '0};
        end
        pim_isa_pkg::RegIrq: read_data = pim_isa_pkg::irq_t'{ended: irq_q, default: '0};
        pim_isa_pkg::RegListLo: read_data = list_q[31:0];
        pim_isa_pkg::RegListHi: read_data = list_q[63:32];
        pim_isa_pkg::RegHostBaseLo: read_data = base_q[31:0];
        pim_isa_pkg::RegHostBaseHi: read_data = base_q[63:32];
        pim_isa_pkg::RegHostSizeLo: read_data = size_q[31:0];
        pim_isa_pkg::RegHostSizeHi: read_data = size_q[63:32];
        pim_isa_pkg::RegChainLimit: read_data = limit_q;
        pim_isa_pkg::RegDescLo: read_data = desc_addr_i[31:0];
        pim_isa_pkg::RegDescHi: read_data = desc_addr_i[63:32];
        pim_isa_pkg::RegDescCount: read_data = desc_count_i;
        pim_isa_pkg::RegDoorbellDropped: read_data = dropped_q;
        pim_isa_pkg::RegCapacityLo: read_data = Capacity[31:0];
        pim_isa_pkg::RegCapacityHi: read_data = Capacity[63:32];
        pim_isa_pkg::RegStyle: read_data = Style;
        pim_isa_pkg::RegBanks: read_data = BanksWord;
        pim_isa_pkg::RegRowBytes: read_data = RowBytes;
        pim_isa_pkg::RegAtomBytes: read_data = AtomBytes;
        pim_isa_pkg::RegBeatBytes: read_data = BeatBytes;
        pim_isa_pkg::RegLanes: read_data = Lanes;
        pim_isa_pkg::RegAccGroups: read_data = AccGroups;
        pim_isa_pkg::RegScalarDepth: read_data = ScalarDepth;
        pim_isa_pkg::RegCkRatio: read_data = CkRatio;
        pim_isa_pkg::RegTckFs: read_data = TckFs;
        pim_isa_pkg::RegLaneLatency: read_data = LaneLatency;
        pim_isa_pkg::RegRowsPerBeat: read_data = RowsPerBeat;
        pim_isa_pkg::RegTransposeWays: read_data = TransposeWays;
        default: ;
      endcase
    end
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s_axil_rvalid_o <= 1'b0;
      s_axil_rdata_o <= '0;
      high_q <= '0;
    end else begin
      if (s_axil_rvalid_o && s_axil_rready_i) s_axil_rvalid_o <= 1'b0;
      if (read) begin
        s_axil_rvalid_o <= 1'b1;
        s_axil_rdata_o <= read_data();
        if (is_counter && !s_axil_araddr_i[2]) high_q <= counters_i[counter][63:32];
      end
    end
  end

  // Registers are words: the byte offset in a word has no meaning.
  logic unused;
  assign unused = ^{s_axil_araddr_i[1:0], s_axil_awaddr_i[1:0]};

endmodule

`default_nettype wire
