`default_nettype none

/// Event counters: totals since reset (64 bits) and those of the current descriptor (32 bits).
///
/// Commands are counted as the scheduler sends them; times are in DRAM clocks. The commands and the
/// beats of a clock come late in it: they are registered, added one clock later, and in the totals from
/// then on as well.
/// Whether a bank is open after them is seen a clock later still, and is in the totals from the second
/// clock on; no list ends before that.
module pim_counters #(
  parameter int unsigned Banks = 16,
  /// DRAM clocks in a fabric clock.
  parameter int unsigned CkRatio = 4
) (
  input  wire logic               clk_i,
  input  wire logic               rst_ni,
  /// A list is running.
  input  wire logic               busy_i,
  /// Start the counters of a descriptor anew.
  input  wire logic               clear_i,
  input  wire pim_pkg::dram_cmd_e col_cmd_i,
  input  wire pim_pkg::dram_cmd_e row_cmd_i,
  input  wire logic               col_all_i,
  input  wire logic               row_all_i,
  /// DRAM clock of the fabric clock in which the row command leaves.
  input  wire logic [$clog2(CkRatio)-1:0] row_slot_i,
  /// Banks open before this clock's commands.
  input  wire logic [Banks-1:0]   open_i,
  /// The DRAM is in self-refresh.
  input  wire logic               asleep_i,
  /// Rows that are multiplied and added.
  input  wire logic [3:0]         mac_i,
  input  wire logic               stall_i,
  /// A beat comes from host memory, goes there; the latter has 4 bytes alone.
  input  wire logic               rd_beat_i,
  input  wire logic               wr_beat_i,
  input  wire logic               wr_status_i,
  /// Take the counters of the current descriptor; they are out one clock later.
  input  wire logic               capture_i,
  /// Totals, in the order of pim_isa_pkg::Counter...
  output logic      [pim_isa_pkg::Counters-1:0][63:0] total_o,
  /// Those of the descriptor when captured, the cycles in full.
  output logic      [pim_isa_pkg::Counters-1:0][31:0] captured_o,
  output logic      [63:0]        captured_cycles_o
);

  localparam int unsigned StepBits = $clog2(Banks + 1);
  localparam int unsigned ClockBits = $clog2(CkRatio + 1);
  localparam logic [7:0] BeatBytes = 8'd64;
  localparam logic [7:0] StatusBytes = 8'd4;

  // Of the commands of the clock before, still to be added.
  logic [StepBits-1:0] act_step_q, pre_step_q;
  logic rd_step_q, wr_step_q, ref_step_q, all_rd_step_q, all_wr_step_q;
  logic [7:0] link_step_q;

  // A bank was open before the commands of the clock before, whose row command left in this slot; and
  // DRAM clocks with a bank open in the clock before that.
  logic any_open_q;
  logic [$clog2(CkRatio)-1:0] row_slot_q;
  logic [ClockBits-1:0] open_step_q;

  logic [63:0] cycles_q, act_q, pre_q, rd_q, wr_q, ref_q, mac_q, stall_q;
  logic [63:0] open_q, self_refresh_q, all_rd_q, all_wr_q, link_q;
  logic [pim_isa_pkg::Counters-1:0][63:0] base_q;

  assign total_o[pim_isa_pkg::CounterCycles] = cycles_q;
  assign total_o[pim_isa_pkg::CounterAct] = act_q + 64'(act_step_q);
  assign total_o[pim_isa_pkg::CounterPre] = pre_q + 64'(pre_step_q);
  assign total_o[pim_isa_pkg::CounterRd] = rd_q + 64'(rd_step_q);
  assign total_o[pim_isa_pkg::CounterWr] = wr_q + 64'(wr_step_q);
  assign total_o[pim_isa_pkg::CounterRef] = ref_q + 64'(ref_step_q);
  assign total_o[pim_isa_pkg::CounterMac] = mac_q;
  assign total_o[pim_isa_pkg::CounterStall] = stall_q;
  assign total_o[pim_isa_pkg::CounterOpen] = open_q + 64'(open_step_q);
  assign total_o[pim_isa_pkg::CounterSelfRefresh] = self_refresh_q;
  assign total_o[pim_isa_pkg::CounterAllRd] = all_rd_q + 64'(all_rd_step_q);
  assign total_o[pim_isa_pkg::CounterAllWr] = all_wr_q + 64'(all_wr_step_q);
  assign total_o[pim_isa_pkg::CounterLink] = link_q + 64'(link_step_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      cycles_q <= '0;
      act_q <= '0;
      pre_q <= '0;
      rd_q <= '0;
      wr_q <= '0;
      ref_q <= '0;
      mac_q <= '0;
      stall_q <= '0;
      open_q <= '0;
      self_refresh_q <= '0;
      all_rd_q <= '0;
      all_wr_q <= '0;
      link_q <= '0;
      link_step_q <= '0;
      act_step_q <= '0;
      pre_step_q <= '0;
      rd_step_q <= 1'b0;
      wr_step_q <= 1'b0;
      ref_step_q <= 1'b0;
      all_rd_step_q <= 1'b0;
      all_wr_step_q <= 1'b0;
      any_open_q <= 1'b0;
      row_slot_q <= '0;
      open_step_q <= '0;
      base_q <= '0;
      captured_o <= '0;
      captured_cycles_o <= '0;
    end else begin
      if (busy_i) cycles_q <= cycles_q + 64'(CkRatio);
      act_step_q <= row_cmd_i != pim_pkg::CmdAct ? '0
                    : row_all_i ? StepBits'(Banks) : StepBits'(1);
      pre_step_q <= row_cmd_i != pim_pkg::CmdPre ? '0
                    : row_all_i ? StepBits'(unsigned'($countones(open_i))) : StepBits'(1);
      rd_step_q <= col_cmd_i == pim_pkg::CmdRd;
      wr_step_q <= col_cmd_i == pim_pkg::CmdWr;
      ref_step_q <= row_cmd_i == pim_pkg::CmdRef;
      all_rd_step_q <= col_cmd_i == pim_pkg::CmdRd && col_all_i;
      all_wr_step_q <= col_cmd_i == pim_pkg::CmdWr && col_all_i;
      link_step_q <= (rd_beat_i ? BeatBytes : '0)
                     + (!wr_beat_i ? '0 : wr_status_i ? StatusBytes : BeatBytes);
      any_open_q <= |open_i;
      row_slot_q <= row_slot_i;
      // One row command a clock: the first ACT or the last PRE cuts it at its slot.
      unique case ({any_open_q, |open_i})
        2'b11: open_step_q <= ClockBits'(CkRatio);
        2'b10: open_step_q <= ClockBits'(row_slot_q);
        2'b01: open_step_q <= ClockBits'(CkRatio) - ClockBits'(row_slot_q);
        default: open_step_q <= '0;
      endcase
      if (act_step_q != '0) act_q <= total_o[pim_isa_pkg::CounterAct];
      if (pre_step_q != '0) pre_q <= total_o[pim_isa_pkg::CounterPre];
      if (rd_step_q) rd_q <= total_o[pim_isa_pkg::CounterRd];
      if (wr_step_q) wr_q <= total_o[pim_isa_pkg::CounterWr];
      if (ref_step_q) ref_q <= total_o[pim_isa_pkg::CounterRef];
      if (mac_i != '0) mac_q <= mac_q + 64'(mac_i);
      if (busy_i && stall_i) stall_q <= stall_q + 64'(CkRatio);
      if (open_step_q != '0) open_q <= total_o[pim_isa_pkg::CounterOpen];
      if (busy_i && asleep_i) self_refresh_q <= self_refresh_q + 64'(CkRatio);
      if (all_rd_step_q) all_rd_q <= total_o[pim_isa_pkg::CounterAllRd];
      if (all_wr_step_q) all_wr_q <= total_o[pim_isa_pkg::CounterAllWr];
      if (link_step_q != '0) link_q <= total_o[pim_isa_pkg::CounterLink];
      if (clear_i) base_q <= total_o;
      if (capture_i) begin
        captured_cycles_o <= cycles_q - base_q[pim_isa_pkg::CounterCycles];
        for (int unsigned i = 0; i < pim_isa_pkg::Counters; i++) begin
          captured_o[i] <= 32'(total_o[i] - base_q[i]);
        end
      end
    end
  end

endmodule

`default_nettype wire
