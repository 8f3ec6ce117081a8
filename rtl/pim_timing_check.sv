`default_nettype none

/// Asserts every DRAM timing rule on every command; simulation and proofs only.
///
/// It shares nothing with the scheduler but the commands it sees: it keeps the clock of the last
/// commands of each kind for every bank and group and checks each rule as a difference. Rules:
/// JESD79-4 for DDR4, with tREFI = 0 none of refresh. An all-bank ACT counts as one activation for tRRD and tFAW, as in the
/// AiM simulators; each of its banks keeps tRC, tRCD, tRAS, tRP.
module pim_timing_check #(
  parameter int unsigned Banks = 16,
  parameter int unsigned BankGroups = 4,
  parameter int unsigned Rows = 4096,
  parameter int unsigned CkRatio = 4,
  parameter pim_pkg::timing_t Timing = '0
) (
  input wire logic clk_i,
  input wire logic rst_ni,
  /// The device leaves self-refresh: no earlier command counts.
  input wire logic wake_i,
  input wire logic asleep_i,
  input wire pim_pkg::dram_cmd_e col_cmd_i,
  input wire pim_pkg::dram_cmd_e row_cmd_i,
  input wire logic col_all_i,
  input wire logic row_all_i,
  input wire logic [$clog2(Banks)-1:0] col_bank_i,
  input wire logic [$clog2(Banks)-1:0] row_bank_i,
  input wire logic [$clog2(CkRatio)-1:0] col_slot_i,
  input wire logic [$clog2(CkRatio)-1:0] row_slot_i,
  input wire logic [$clog2(Rows)-1:0] row_row_i,
  /// Row that the column command is meant for.
  input wire logic [$clog2(Rows)-1:0] col_row_i
);

  localparam int unsigned GroupBits = $clog2(BankGroups);
  localparam bit Refreshed = Timing.refi != '0;
  localparam longint signed WriteEnd = longint'(Timing.cwl) + longint'(Timing.bl);
  // Two idle clocks between read and write data (JESD79-4, 4.25).
  localparam longint signed ReadToWrite =
      longint'(Timing.cl) + longint'(Timing.bl) + 64'sd2 - longint'(Timing.cwl);
  localparam longint signed Rcd [2] = '{longint'(Timing.rcd_wr), longint'(Timing.rcd_rd)};
  // A clock so long ago that no rule reaches back to it.
  localparam longint signed Never = -64'sd1000000;

  longint signed clock_q;
  longint signed act_q [Banks];
  longint signed pre_q [Banks];
  longint signed rd_q [Banks];
  longint signed wr_q [Banks];
  longint signed ref_q, wake_q;
  longint signed refi_q;  // the next refresh falls due
  int signed debt_q;      // refreshes due and not sent; below 0: sent ahead
  logic missing_q;        // no REF since the exit of self-refresh
  longint signed acts_q [4];
  logic [Banks-1:0] open_q;
  logic [$clog2(Rows)-1:0] row_q [Banks];

  function automatic logic same_group(int unsigned a, logic [$clog2(Banks)-1:0] b);
    return GroupBits'(a) == b[GroupBits-1:0];
  endfunction

  longint signed col_clock, row_clock;  // of this clock's commands

  `define PIM_RULE(since, least, now, name) \
    assert ((now) - (since) >= (least)) \
    else $fatal(1, "DRAM timing: %s: %0d clocks, at least %0d (bank %0d, clock %0d)", name, \
                (now) - (since), least, b, now);

  // The state is private to this block: blocking assignments, which cost nothing in a clock
  // without a command.
  always_ff @(posedge clk_i) begin
    if (!rst_ni || wake_i) begin
      clock_q = '0;
      open_q = '0;
      ref_q = Never;
      wake_q = '0;
      refi_q = longint'(Timing.refi);
      // What self-refresh left out is owed on top (JESD79-4, 4.27); its debt before it stays.
      if (!rst_ni) debt_q = 0;
      else if (Refreshed) debt_q = debt_q + 1;
      missing_q = rst_ni && Refreshed;
      for (int unsigned b = 0; b < Banks; b++) begin
        act_q[b] = Never;
        pre_q[b] = Never;
        rd_q[b] = Never;
        wr_q[b] = Never;
        row_q[b] = '0;
      end
      for (int unsigned i = 0; i < 4; i++) acts_q[i] = Never;
    end else begin
      col_clock = clock_q + longint'(col_slot_i);
      row_clock = clock_q + longint'(row_slot_i);

      assert (col_cmd_i == pim_pkg::CmdNop || row_cmd_i == pim_pkg::CmdNop ||
              col_slot_i != row_slot_i) else $fatal(1, "two commands in one slot");
      assert (!asleep_i || (col_cmd_i == pim_pkg::CmdNop && row_cmd_i == pim_pkg::CmdNop))
      else $fatal(1, "command in self-refresh");
      assert (!asleep_i || !missing_q) else $fatal(1, "no REF before self-refresh");
      // At most eight refreshes are postponed or sent ahead (JESD79-4, 4.26).
      if (Refreshed && !asleep_i && clock_q >= refi_q) begin
        refi_q = refi_q + longint'(Timing.refi);
        debt_q = debt_q + 1;
        assert (debt_q <= 8) else $fatal(1, "refresh lost");
      end

      if (col_cmd_i == pim_pkg::CmdRd || col_cmd_i == pim_pkg::CmdWr) begin
        assert (col_clock - wake_q >= longint'(Timing.xsdll))
        else $fatal(1, "DRAM timing: tXSDLL: %0d clocks", col_clock - wake_q);
        for (int unsigned b = 0; b < Banks; b++) begin
          if (col_all_i || b == 32'(col_bank_i)) begin
            assert (open_q[b] && row_q[b] == col_row_i)
            else $fatal(1, "column command to a closed or wrong row (bank %0d)", b);
            `PIM_RULE(act_q[b], Rcd[col_cmd_i == pim_pkg::CmdRd], col_clock, "tRCD")
          end
          if (col_cmd_i == pim_pkg::CmdRd) begin
            `PIM_RULE(rd_q[b], longint'(Timing.ccd_s), col_clock, "tCCD_S")
            `PIM_RULE(wr_q[b], WriteEnd + longint'(Timing.wtr_s), col_clock, "tWTR_S")
            if (col_all_i || same_group(b, col_bank_i)) begin
              `PIM_RULE(rd_q[b], longint'(Timing.ccd_l), col_clock, "tCCD_L")
              `PIM_RULE(wr_q[b], WriteEnd + longint'(Timing.wtr_l), col_clock, "tWTR_L")
            end
          end else begin
            `PIM_RULE(wr_q[b], longint'(Timing.ccd_s), col_clock, "tCCD_S")
            `PIM_RULE(rd_q[b], ReadToWrite, col_clock, "tRTW")
            if (col_all_i || same_group(b, col_bank_i)) begin
              `PIM_RULE(wr_q[b], longint'(Timing.ccd_l), col_clock, "tCCD_L")
            end
          end
          if (col_all_i || b == 32'(col_bank_i)) begin
            if (col_cmd_i == pim_pkg::CmdRd) rd_q[b] = col_clock;
            else wr_q[b] = col_clock;
          end
        end
      end

      if (row_cmd_i == pim_pkg::CmdAct) begin
        for (int unsigned b = 0; b < Banks; b++) begin
          `PIM_RULE(act_q[b], longint'(Timing.rrd_s), row_clock, "tRRD_S")
          if (row_all_i || same_group(b, row_bank_i)) begin
            `PIM_RULE(act_q[b], longint'(Timing.rrd_l), row_clock, "tRRD_L")
          end
          if (row_all_i || b == 32'(row_bank_i)) begin
            assert (!open_q[b]) else $fatal(1, "ACT to an open bank (%0d)", b);
            `PIM_RULE(act_q[b], longint'(Timing.rc), row_clock, "tRC")
            `PIM_RULE(pre_q[b], longint'(Timing.rp), row_clock, "tRP")
            `PIM_RULE(ref_q, longint'(Timing.rfc), row_clock, "tRFC")
            `PIM_RULE(wake_q, longint'(Timing.xs), row_clock, "tXS")
            act_q[b] = row_clock;
            open_q[b] = 1'b1;
            row_q[b] = row_row_i;
          end
        end
        assert (row_clock - acts_q[3] >= longint'(Timing.faw))
        else $fatal(1, "DRAM timing: tFAW: %0d clocks", row_clock - acts_q[3]);
        for (int unsigned i = 3; i > 0; i--) acts_q[i] = acts_q[i-1];
        acts_q[0] = row_clock;
      end

      if (row_cmd_i == pim_pkg::CmdPre) begin
        for (int unsigned b = 0; b < Banks; b++) begin
          if (row_all_i || b == 32'(row_bank_i)) begin
            if (open_q[b]) begin
              `PIM_RULE(act_q[b], longint'(Timing.ras), row_clock, "tRAS")
              `PIM_RULE(rd_q[b], longint'(Timing.rtp), row_clock, "tRTP")
              `PIM_RULE(wr_q[b], WriteEnd + longint'(Timing.wr), row_clock, "tWR")
              pre_q[b] = row_clock;
            end
            open_q[b] = 1'b0;
          end
        end
      end

      if (row_cmd_i == pim_pkg::CmdRef) begin
        assert (open_q == '0) else $fatal(1, "REF with open banks");
        for (int unsigned b = 0; b < Banks; b++) begin
          `PIM_RULE(act_q[b], longint'(Timing.rc), row_clock, "tRC before REF")
          `PIM_RULE(pre_q[b], longint'(Timing.rp), row_clock, "tRP before REF")
        end
        assert (row_clock - ref_q >= longint'(Timing.rfc)) else $fatal(1, "tRFC");
        assert (row_clock - wake_q >= longint'(Timing.xs)) else $fatal(1, "tXS before REF");
        ref_q = row_clock;
        missing_q = 1'b0;
        debt_q = debt_q - 1;
        assert (!Refreshed || debt_q >= -8) else $fatal(1, "more than eight refreshes ahead");
      end

      clock_q = clock_q + longint'(CkRatio);
    end
  end

  `undef PIM_RULE

endmodule

`default_nettype wire
