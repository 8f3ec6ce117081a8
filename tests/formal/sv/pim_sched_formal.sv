/// pim_sched: no DRAM timing rule is ever broken, the clock of its stamps never wraps, and
/// refresh is never late, whatever is asked of it; and a request that only the memory keeps
/// waiting is served within `WaitMost` clocks, a refresh in between included.
///
/// The rules are stated here once more, on the ages of the last commands of each kind: DRAM
/// clocks from the command to the first slot of this fabric clock, `Far` when it is so long ago
/// that no rule reaches back. REF and the exit of self-refresh make all ages far: what follows
/// them waits tRFC or tXS, which are longer than every other rule (checked below). Only tXSDLL,
/// of the first column after self-refresh, is longer: its age goes on through a REF.
///
/// The second half are the invariants that make the proof inductive: what each stamp of the
/// scheduler means in terms of these ages. The induction is cut into parts, which a solver does
/// far faster than all at once: `Mode` 0 starts from reset and asserts everything (base case,
/// covers); `Mode` p > 0 starts from any state in which everything holds and asserts part p one
/// clock later. Base case and all parts together prove rules and invariants for all time.
module pim_sched_formal #(
  parameter int unsigned Mode = 0,
  /// 1: the covers are those that are reached from reset, with short timings.
  parameter bit FromReset = 1'b0,
  parameter bit AllBank = 1'b0,
  parameter int unsigned Banks = 4,
  parameter int unsigned BankGroups = 2,
  parameter int unsigned RowBytes = 128,
  parameter int unsigned Rows = 2,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned CkRatio = 2,
  parameter int unsigned LaneSpacing = 2,
  parameter int unsigned LaneLatency = 2,
  parameter int unsigned TRcdRd = 3,
  parameter int unsigned TRcdWr = 4,
  parameter int unsigned TRp = 3,
  parameter int unsigned TRas = 7,
  parameter int unsigned TRc = 11,
  parameter int unsigned TCcdS = 2,
  parameter int unsigned TCcdL = 3,
  parameter int unsigned TRrdS = 2,
  parameter int unsigned TRrdL = 3,
  parameter int unsigned TFaw = 12,
  parameter int unsigned TWr = 3,
  parameter int unsigned TRtp = 2,
  parameter int unsigned TWtrS = 1,
  parameter int unsigned TWtrL = 3,
  parameter int unsigned TRefi = 300,
  parameter int unsigned TRfc = 20,
  parameter int unsigned TXs = 22,
  parameter int unsigned TXsdll = 50,
  parameter int unsigned TCl = 5,
  parameter int unsigned TCwl = 5,
  parameter int unsigned TBl = 2
) (
  input logic             clk_i,
  input logic             wake_i,
  input logic             sleep_i,
  input logic             flush_i,
  input logic             valid_i,
  input pim_pkg::span_t   span_i,
  input logic             copy_out_room_i,
  input logic             copy_in_ready_i,
  input logic             lanes_busy_i
);

  // generated:timing
  localparam pim_pkg::timing_t Timing = '{
      rcd_rd: 16'(TRcdRd), rcd_wr: 16'(TRcdWr), rp: 16'(TRp), ras: 16'(TRas), rc: 16'(TRc),
      ccd_s: 16'(TCcdS), ccd_l: 16'(TCcdL), rrd_s: 16'(TRrdS), rrd_l: 16'(TRrdL), faw: 16'(TFaw),
      wr: 16'(TWr), rtp: 16'(TRtp), wtr_s: 16'(TWtrS), wtr_l: 16'(TWtrL), refi: 16'(TRefi),
      rfc: 16'(TRfc), xs: 16'(TXs), xsdll: 16'(TXsdll), cl: 16'(TCl), cwl: 16'(TCwl), bl: 16'(TBl)};
  // end generated
  localparam int unsigned BankBits = $clog2(Banks);
  localparam int unsigned GroupBits = $clog2(BankGroups);
  localparam int unsigned RowBits = $clog2(Rows);
  localparam int unsigned SlotBits = $clog2(CkRatio);
  localparam int unsigned WriteEnd = TCwl + TBl;
  localparam int unsigned ReadToWrite = TCl + TBl + 2 - TCwl;

  function automatic int unsigned most(int unsigned a, int unsigned b);
    return a > b ? a : b;
  endfunction

  // The longest rule between any two commands other than REF and self-refresh.
  localparam int unsigned Longest = most(most(most(TRc, TFaw), most(TRas + TRp, WriteEnd + TWr)),
                                         most(WriteEnd + TWtrL, ReadToWrite));
  if (TRfc < Longest || TXs < TRfc) begin : gen_check_longest
    $error("%m: tRFC must be the longest rule, tXS no shorter");
  end
  if (TRc < TRp || TRc < TRas) begin : gen_check_rc
    $error("%m: tRC shorter than its parts");
  end

  // Bits of an age, and of a stamp, that these parameters need.
  localparam int unsigned AgeBits = $clog2(most(TXs, TXsdll) + 2 * CkRatio + 2);
  localparam int unsigned StampBits = $clog2(TRefi + 2 * Longest + most(TXs, TXsdll) + 8 * CkRatio) + 1;
  typedef logic [AgeBits-1:0] age_t;
  typedef logic signed [StampBits+1:0] time_t;
  localparam age_t Far = '1;

  // Asserts in the base case and in its own part; in every other part what holds to begin with.
  `define HOLDS(part, condition) \
    if (Mode == 0) assert (condition); \
    else if (!after_q) assume (condition); \
    else if (Mode == (part)) assert (condition);

  // ---- device ---------------------------------------------------------------------------
  logic rst_q = 1'b0;
  logic after_q = 1'b0;
  logic rst_ni;
  always_ff @(posedge clk_i) begin
    rst_q <= 1'b1;
    after_q <= 1'b1;
  end
  assign rst_ni = Mode != 0 || rst_q;

  logic asleep, ready, idle, copy_issue, col_all, row_all;
  pim_pkg::access_t read, write;
  pim_pkg::dram_cmd_e col_cmd, row_cmd;
  logic [BankBits-1:0] col_bank, row_bank;
  logic [SlotBits-1:0] col_slot, row_slot;
  logic [RowBits-1:0] row_row, col_row;
  logic [$clog2(RowBytes / AtomBytes)-1:0] col_column;
  logic [Banks-1:0] open;

  pim_sched #(
    .AllBank(AllBank), .Banks(Banks), .BankGroups(BankGroups), .RowBytes(RowBytes), .Rows(Rows),
    .AtomBytes(AtomBytes), .CkRatio(CkRatio), .LaneSpacing(LaneSpacing),
    .LaneLatency(LaneLatency), .Timing(Timing)
  ) u_dut (
    .clk_i, .rst_ni, .wake_i, .sleep_i, .asleep_o(asleep), .flush_i, .valid_i, .ready_o(ready),
    .span_i, .idle_o(idle), .copy_out_room_i, .copy_in_ready_i, .lanes_busy_i,
    .copy_issue_o(copy_issue), .read_o(read), .write_o(write), .col_cmd_o(col_cmd),
    .row_cmd_o(row_cmd), .col_all_o(col_all), .row_all_o(row_all), .col_bank_o(col_bank),
    .row_bank_o(row_bank), .col_slot_o(col_slot), .row_slot_o(row_slot), .row_row_o(row_row),
    .col_row_o(col_row), .col_column_o(col_column), .open_o(open)
  );

  // ---- what the list engine and the cutter of spans promise -----------------------------
  localparam int unsigned PageBits = $clog2(RowBytes * (AllBank ? Banks : 1));

  // A span has some accesses, and lies in one page.
  function automatic logic in_page(logic [31:0] addr, logic [31:0] count, logic all);
    logic [31:0] room;
    room = 32'(1 << PageBits) - 32'(addr[PageBits-1:0]);
    return count != '0 && count <= room / (AllBank && all ? Banks * AtomBytes : AtomBytes);
  endfunction

  always_comb begin
    if (wake_i) assume (asleep && !sleep_i && !flush_i);
    if (asleep || sleep_i) assume (!valid_i);
    if (sleep_i) assume (idle);
    if (valid_i) assume (in_page(span_i.run.addr, span_i.run.count, span_i.run.all));
    if (!AllBank) assume (!span_i.run.all);
  end

  // ---- ages of commands -----------------------------------------------------------------
  age_t [Banks-1:0] act_q, pre_q, rd_q, wr_q;        // of a bank; rd, wr: since its ACT
  age_t [BankGroups-1:0] gact_q, grd_q, gwr_q;       // of a group
  age_t [3:0] acts_q;                                // of the last four ACTs, newest first
  age_t ref_q, wake_q;
  age_t lock_q;              // of the exit of self-refresh, also beyond a REF
  logic missing_q;           // no REF since the exit of self-refresh
  logic [Banks-1:0] open_q;
  logic [Banks-1:0][RowBits-1:0] row_q;

  logic is_rd, is_wr, is_act, is_pre, is_ref;
  assign is_rd = col_cmd == pim_pkg::CmdRd;
  assign is_wr = col_cmd == pim_pkg::CmdWr;
  assign is_act = row_cmd == pim_pkg::CmdAct;
  assign is_pre = row_cmd == pim_pkg::CmdPre;
  assign is_ref = row_cmd == pim_pkg::CmdRef;

  function automatic age_t older(age_t age);
    return age >= Far - age_t'(CkRatio) ? Far : age + age_t'(CkRatio);
  endfunction

  function automatic logic in_group(int unsigned g, logic [BankBits-1:0] bank);
    return 32'(bank) % BankGroups == g;
  endfunction

  age_t col_age, row_age;  // at the next fabric clock, of this one's commands
  assign col_age = age_t'(CkRatio) - age_t'(col_slot);
  assign row_age = age_t'(CkRatio) - age_t'(row_slot);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || wake_i) begin
      lock_q <= rst_ni ? '0 : Far;
      missing_q <= rst_ni;
    end else begin
      lock_q <= older(lock_q);
      if (is_ref) missing_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || wake_i || is_ref) begin
      act_q <= {Banks{Far}};
      pre_q <= {Banks{Far}};
      rd_q <= {Banks{Far}};
      wr_q <= {Banks{Far}};
      gact_q <= {BankGroups{Far}};
      grd_q <= {BankGroups{Far}};
      gwr_q <= {BankGroups{Far}};
      acts_q <= {4{Far}};
      ref_q <= rst_ni && is_ref ? row_age : Far;
      wake_q <= wake_i ? '0 : Far;
      open_q <= '0;
      row_q <= '0;
    end else begin
      ref_q <= older(ref_q);
      wake_q <= older(wake_q);
      for (int unsigned i = 0; i < 4; i++) acts_q[i] <= older(acts_q[i]);
      if (is_act) begin
        acts_q[0] <= row_age;
        for (int unsigned i = 1; i < 4; i++) acts_q[i] <= older(acts_q[i-1]);
      end
      for (int unsigned g = 0; g < BankGroups; g++) begin
        gact_q[g] <= is_act && (row_all || in_group(g, row_bank)) ? row_age : older(gact_q[g]);
        grd_q[g] <= is_rd && (col_all || in_group(g, col_bank)) ? col_age : older(grd_q[g]);
        gwr_q[g] <= is_wr && (col_all || in_group(g, col_bank)) ? col_age : older(gwr_q[g]);
      end
      for (int unsigned b = 0; b < Banks; b++) begin
        act_q[b] <= older(act_q[b]);
        pre_q[b] <= older(pre_q[b]);
        rd_q[b] <= is_rd && (col_all || 32'(col_bank) == b) ? col_age : older(rd_q[b]);
        wr_q[b] <= is_wr && (col_all || 32'(col_bank) == b) ? col_age : older(wr_q[b]);
        if (is_act && (row_all || 32'(row_bank) == b)) begin
          act_q[b] <= row_age;
          open_q[b] <= 1'b1;
          row_q[b] <= row_row;
        end
        if (is_pre && (row_all || 32'(row_bank) == b)) begin
          if (open_q[b]) pre_q[b] <= row_age;
          open_q[b] <= 1'b0;
          // tRTP and tWR of what the bank did were judged by this PRE.
          rd_q[b] <= Far;
          wr_q[b] <= Far;
        end
      end
    end
  end

  // ---- the rules ------------------------------------------------------------------------
  function automatic logic kept(age_t age, logic [SlotBits-1:0] slot, int unsigned least);
    return age == Far || (AgeBits + 1)'(age) + (AgeBits + 1)'(slot) >= (AgeBits + 1)'(least);
  endfunction

  always_comb begin
    if (rst_ni) begin
      if (asleep) begin
        `HOLDS(1, col_cmd == pim_pkg::CmdNop)
        `HOLDS(1, row_cmd == pim_pkg::CmdNop)
        `HOLDS(1, !missing_q)  // a REF between two stays in self-refresh
      end
      if (is_rd || is_wr) `HOLDS(1, kept(lock_q, col_slot, TXsdll))  // tXSDLL
      if (col_cmd != pim_pkg::CmdNop && row_cmd != pim_pkg::CmdNop) `HOLDS(1, col_slot != row_slot)
      for (int unsigned b = 0; b < Banks; b++) begin
        if ((is_rd || is_wr) && (col_all || 32'(col_bank) == b)) begin
          `HOLDS(1, open_q[b])
          `HOLDS(1, row_q[b] == col_row)
          `HOLDS(1, kept(act_q[b], col_slot, is_rd ? TRcdRd : TRcdWr))  // tRCD
        end
        if (is_act && (row_all || 32'(row_bank) == b)) begin
          `HOLDS(2, !open_q[b])
          `HOLDS(2, kept(act_q[b], row_slot, TRc))  // tRC
          `HOLDS(2, kept(pre_q[b], row_slot, TRp))  // tRP
        end
        if (is_pre && (row_all || 32'(row_bank) == b) && open_q[b]) begin
          `HOLDS(2, kept(act_q[b], row_slot, TRas))           // tRAS
          `HOLDS(2, kept(rd_q[b], row_slot, TRtp))            // tRTP
          `HOLDS(2, kept(wr_q[b], row_slot, WriteEnd + TWr))  // tWR
        end
        if (is_ref) begin
          `HOLDS(2, !open_q[b])
          `HOLDS(2, kept(pre_q[b], row_slot, TRp))
          `HOLDS(2, kept(act_q[b], row_slot, TRc))
        end
      end
      for (int unsigned g = 0; g < BankGroups; g++) begin
        if (is_rd) begin
          `HOLDS(3, kept(grd_q[g], col_slot, TCcdS))             // tCCD_S
          `HOLDS(3, kept(gwr_q[g], col_slot, WriteEnd + TWtrS))  // tWTR_S
          if (col_all || in_group(g, col_bank)) begin
            `HOLDS(3, kept(grd_q[g], col_slot, TCcdL))             // tCCD_L
            `HOLDS(3, kept(gwr_q[g], col_slot, WriteEnd + TWtrL))  // tWTR_L
          end
        end
        if (is_wr) begin
          `HOLDS(4, kept(gwr_q[g], col_slot, TCcdS))
          `HOLDS(4, kept(grd_q[g], col_slot, ReadToWrite))  // tRTW
          if (col_all || in_group(g, col_bank)) `HOLDS(4, kept(gwr_q[g], col_slot, TCcdL))
        end
        if (is_act) begin
          `HOLDS(4, kept(gact_q[g], row_slot, TRrdS))  // tRRD_S
          if (row_all || in_group(g, row_bank)) `HOLDS(4, kept(gact_q[g], row_slot, TRrdL))
        end
      end
      if (is_act) begin
        `HOLDS(4, kept(acts_q[3], row_slot, TFaw))  // tFAW
        `HOLDS(4, kept(ref_q, row_slot, TRfc))      // tRFC
        `HOLDS(4, kept(wake_q, row_slot, TXs))      // tXS
      end
      if (is_ref) begin
        `HOLDS(4, kept(ref_q, row_slot, TRfc))
        `HOLDS(4, kept(wake_q, row_slot, TXs))
      end
    end
  end

  // ---- refresh: never later than the rows need to be closed ------------------------------
  // A bound on the way from "due" to REF: close what is open, then wait for the banks.
  localparam int unsigned CloseTime = most(TRas, most(WriteEnd + TWr, TRtp)) + 2 * CkRatio;
  localparam int unsigned RestTime = most(TRc, TRp) + 2 * CkRatio;
  localparam int unsigned LateMost = most(CloseTime + RestTime, TXs + 4 * CkRatio);
  if (TRefi < LateMost + TXs + 4 * CkRatio) begin : gen_check_refi
    $error("%m: tREFI too short for this proof");
  end

  // Clocks since the last refresh was due; counted here, not taken from the scheduler. The exit of
  // self-refresh makes one due.
  logic [15:0] refi_q;
  logic owed_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || wake_i) begin
      refi_q <= '0;
      owed_q <= rst_ni;
    end else if (!asleep) begin
      refi_q <= refi_q + 16'(CkRatio);
      if (is_ref) owed_q <= 1'b0;
      if (refi_q + 16'(CkRatio) >= 16'(TRefi)) begin
        refi_q <= refi_q + 16'(CkRatio) - 16'(TRefi);
        owed_q <= 1'b1;
      end
    end
  end
  always_comb if (rst_ni && !asleep && owed_q) `HOLDS(5, 32'(refi_q) <= LateMost)
  // No refresh goes out before it is due: none is lost by going twice.
  always_comb if (rst_ni && is_ref) `HOLDS(5, owed_q)

  // ---- invariants -----------------------------------------------------------------------
  time_t now, floor_q;
  assign now = at(u_dut.u_refresh.now_q);

  // Value that the last reset of the stamps gave to those of ACT.
  always_ff @(posedge clk_i) begin
    if (!rst_ni || wake_i) floor_q <= time_t'(TXs);
    else if (is_ref) floor_q <= time_t'(TRfc);
  end

  function automatic time_t at(logic [15:0] stamp);
    return time_t'({2'b0, stamp[StampBits-1:0]});
  endfunction

  // `stamp` keeps a command `least` clocks away from one of this age.
  function automatic logic guards(logic [15:0] stamp, age_t age, int unsigned least);
    return age == Far || at(stamp) + time_t'({2'b0, age}) >= now + time_t'(least);
  endfunction

  function automatic logic below(logic [15:0] stamp, int unsigned least);
    return at(stamp) <= now + time_t'(least);
  endfunction

  // The same of waits, which are counted from now.
  function automatic time_t clocks(logic [15:0] left);
    return time_t'({2'b0, left[StampBits-1:0]});
  endfunction

  function automatic logic [15:0] most16(logic [15:0] a, logic [15:0] b);
    return a > b ? a : b;
  endfunction

  function automatic time_t longer(logic [15:0] a, logic [15:0] b);
    return clocks(most16(a, b));
  endfunction

  function automatic logic bars(logic [15:0] left, age_t age, int unsigned least);
    return age == Far || clocks(left) + time_t'({2'b0, age}) >= time_t'(least);
  endfunction

  function automatic logic covers(logic [15:0] left, logic [15:0] stamp);
    return at(stamp) <= now + clocks(left);
  endfunction

  // The solver works on the low bits of the stamps; the others stay 0.
  function automatic logic short_stamp(logic [15:0] stamp);
    return stamp >> StampBits == '0;
  endfunction

  // What the scheduler holds of each bank: an entry of its own, or what a command to all banks left.
  logic [$clog2(Rows)-1:0] bank_row [Banks];
  logic [15:0] bank_act_at [Banks], bank_rp_at [Banks], bank_read_at [Banks], bank_write_at [Banks];
  logic [15:0] bank_ras_at [Banks], bank_read_pre_at [Banks], bank_write_pre_at [Banks];
  always_comb begin
    for (int unsigned b = 0; b < Banks; b++) begin
      bank_row[b] = u_dut.u_banks.own_act_q[b] ? u_dut.u_banks.row_q[b] : u_dut.u_banks.row_all_q;
      bank_act_at[b] = u_dut.u_banks.own_act_q[b]
          ? u_dut.u_banks.act_at_q[b] : u_dut.u_banks.act_at_all_q;
      bank_rp_at[b] = u_dut.u_banks.own_rp_q[b] ? u_dut.u_banks.rp_at_q[b] : '0;
      bank_read_at[b] = u_dut.u_banks.own_act_q[b]
          ? u_dut.u_banks.read_at_q[b] : u_dut.u_banks.read_at_all_q;
      bank_write_at[b] = u_dut.u_banks.own_act_q[b]
          ? u_dut.u_banks.write_at_q[b] : u_dut.u_banks.write_at_all_q;
      bank_ras_at[b] = u_dut.u_banks.own_act_q[b]
          ? u_dut.u_banks.ras_at_q[b] : u_dut.u_banks.ras_at_all_q;
      bank_read_pre_at[b] = u_dut.u_banks.own_read_q[b] ? u_dut.u_banks.read_pre_at_q[b]
                                                        : u_dut.u_banks.read_pre_at_all_q;
      bank_write_pre_at[b] = u_dut.u_banks.own_write_q[b] ? u_dut.u_banks.write_pre_at_q[b]
                                                          : u_dut.u_banks.write_pre_at_all_q;
    end
  end

  always_comb begin
    if (rst_ni && !asleep) begin
      `HOLDS(12, short_stamp(u_dut.u_refresh.now_q) && short_stamp(u_dut.u_refresh.soon_q))
      `HOLDS(12, at(u_dut.u_refresh.soon_q) == now + time_t'(CkRatio))
      `HOLDS(12, short_stamp(u_dut.u_banks.read_last_q) && short_stamp(u_dut.u_banks.read_far_q))
      `HOLDS(12, short_stamp(u_dut.u_banks.write_last_q) && short_stamp(u_dut.u_banks.write_far_q))
      for (int unsigned i = 0; i < 4; i++) `HOLDS(12, short_stamp(u_dut.u_channel.faw_q[i]))
      for (int unsigned g = 0; g < BankGroups; g++) begin
        `HOLDS(12, short_stamp(u_dut.u_banks.rrd_l_q[g]) && short_stamp(u_dut.u_banks.read_l_q[g]))
        `HOLDS(12, short_stamp(u_dut.u_banks.write_l_q[g]))
      end
      for (int unsigned b = 0; b < Banks; b++) begin
        if (u_dut.u_banks.used_q[b]) begin
          `HOLDS(12, short_stamp(bank_act_at[b]) && short_stamp(bank_rp_at[b]))
        end
        if (u_dut.u_banks.open_q[b]) begin
          `HOLDS(12, short_stamp(bank_read_at[b]) && short_stamp(bank_write_at[b]))
          `HOLDS(12, short_stamp(bank_ras_at[b]))
          if (u_dut.u_banks.read_from_q[b]) `HOLDS(12, short_stamp(bank_read_pre_at[b]))
          if (u_dut.u_banks.written_q[b]) `HOLDS(12, short_stamp(bank_write_pre_at[b]))
        end
      end
    end
  end

  logic [Banks-1:0] unlike;  // open banks whose row is not that of bank 0
  always_comb begin
    for (int unsigned b = 0; b < Banks; b++) unlike[b] = bank_row[b] != bank_row[0];
  end

  always_comb begin
    if (rst_ni) begin
      `HOLDS(6, u_dut.u_banks.open_q == open_q)
      `HOLDS(6, floor_q == time_t'(TXs) || floor_q == time_t'(TRfc))
      if (!asleep) begin
        `HOLDS(6, now + clocks(u_dut.u_channel.rest_q.clocks) >= floor_q)
        `HOLDS(6, clocks(u_dut.u_channel.rest_q.clocks) <= floor_q)
        `HOLDS(6, u_dut.u_channel.rest_q.clocks == '0 ||
                  now + clocks(u_dut.u_channel.rest_q.clocks) == floor_q)
        `HOLDS(6, bars(u_dut.u_channel.rest_q.clocks, ref_q, TRfc))
        `HOLDS(6, bars(u_dut.u_channel.rest_q.clocks, wake_q, TXs))
        `HOLDS(6, u_dut.u_channel.rest_q.beyond == (u_dut.u_channel.rest_q.clocks >= CkRatio))
        `HOLDS(6, u_dut.u_channel.lock_q.beyond == (u_dut.u_channel.lock_q.clocks >= CkRatio))
        `HOLDS(6, clocks(u_dut.u_channel.lock_q.clocks) <= time_t'(TXsdll))
        `HOLDS(6, bars(u_dut.u_channel.lock_q.clocks, lock_q, TXsdll))
      end
      if (asleep) begin
        `HOLDS(6, open_q == '0)
        `HOLDS(6, !u_dut.u_queue.head_valid_q)
        `HOLDS(6, !u_dut.u_queue.next_valid_q)
      end
      for (int unsigned b = 0; b < Banks; b++) begin
        if (open_q[b]) `HOLDS(6, bank_row[b] == row_q[b])
        if (asleep) continue;
        if (u_dut.u_banks.used_q[b]) begin
          `HOLDS(7, below(bank_act_at[b], TRc))
          `HOLDS(7, below(bank_rp_at[b], TRp))
          `HOLDS(7, covers(u_dut.u_channel.act_last_q.clocks, bank_act_at[b]))
          `HOLDS(7, covers(u_dut.u_channel.act_last_q.clocks, bank_rp_at[b]))
          `HOLDS(7, guards(bank_act_at[b], act_q[b], TRc))
          // After a PRE of all banks every ACT waits.
          `HOLDS(13, pre_q[b] >= age_t'(TRp) || guards(bank_rp_at[b], pre_q[b], TRp) ||
                 bars(u_dut.u_channel.any_act_q.clocks, pre_q[b], TRp))
        end else begin
          `HOLDS(7, !open_q[b] && act_q[b] == Far && pre_q[b] == Far)
        end
        `HOLDS(13, pre_q[b] >= age_t'(TRp) || bars(u_dut.u_channel.act_last_q.clocks, pre_q[b], TRp))
        if (open_q[b]) begin
          `HOLDS(8, covers(u_dut.u_channel.pre_last_q.clocks, bank_ras_at[b]))
          `HOLDS(14, guards(bank_ras_at[b], act_q[b], TRas))
          `HOLDS(8, guards(bank_read_at[b], act_q[b], TRcdRd))
          `HOLDS(8, guards(bank_write_at[b], act_q[b], TRcdWr))
          `HOLDS(8, now >= floor_q)
          `HOLDS(9, below(bank_ras_at[b], TRas))
          `HOLDS(9, below(bank_read_at[b], TRcdRd))
          `HOLDS(9, below(bank_write_at[b], TRcdWr))
          if (AllBank) begin
            `HOLDS(9, bank_read_at[b] <= u_dut.u_banks.read_last_q)
            `HOLDS(9, bank_write_at[b] <= u_dut.u_banks.write_last_q)
          end
        end
        if (open_q[b] && u_dut.u_banks.read_from_q[b]) begin
          `HOLDS(8, covers(u_dut.u_channel.pre_last_q.clocks, bank_read_pre_at[b]))
          `HOLDS(14, guards(bank_read_pre_at[b], rd_q[b], TRtp))
          `HOLDS(9, below(bank_read_pre_at[b], TRtp))
        end else begin
          `HOLDS(8, rd_q[b] == Far)
        end
        if (open_q[b] && u_dut.u_banks.written_q[b]) begin
          `HOLDS(8, covers(u_dut.u_channel.pre_last_q.clocks, bank_write_pre_at[b]))
          `HOLDS(14, guards(bank_write_pre_at[b], wr_q[b], WriteEnd + TWr))
          `HOLDS(9, below(bank_write_pre_at[b], WriteEnd + TWr))
        end else begin
          `HOLDS(8, wr_q[b] == Far)
        end
      end
      if (u_dut.u_banks.together_q) begin
        `HOLDS(9, &open_q)
        `HOLDS(9, unlike == '0)
        `HOLDS(9, !AllBank || u_dut.u_banks.own_act_q == '0)
      end
      if (!asleep) begin
        for (int unsigned g = 0; g < BankGroups; g++) begin
          `HOLDS(10, bars(u_dut.u_channel.any_act_q.clocks, gact_q[g], TRrdS))
          `HOLDS(10, guards(u_dut.u_banks.rrd_l_q[g], gact_q[g], TRrdL))
          `HOLDS(10, bars(u_dut.u_channel.act_last_q.clocks, gact_q[g], TRc))
          `HOLDS(10, bars(u_dut.u_channel.read_s_q.clocks, grd_q[g], TCcdS))
          `HOLDS(10, bars(u_dut.u_channel.read_s_q.clocks, gwr_q[g], WriteEnd + TWtrS))
          `HOLDS(10, guards(u_dut.u_banks.read_l_q[g], grd_q[g], TCcdL))
          `HOLDS(10, guards(u_dut.u_banks.read_l_q[g], gwr_q[g], WriteEnd + TWtrL))
          `HOLDS(10, bars(u_dut.u_channel.write_s_q.clocks, gwr_q[g], TCcdS))
          `HOLDS(10, bars(u_dut.u_channel.write_s_q.clocks, grd_q[g], ReadToWrite))
          `HOLDS(10, guards(u_dut.u_banks.write_l_q[g], gwr_q[g], TCcdL))
          if (AllBank) begin
            `HOLDS(10, u_dut.u_banks.read_l_q[g] <= u_dut.u_banks.read_far_q)
            `HOLDS(10, u_dut.u_banks.write_l_q[g] <= u_dut.u_banks.write_far_q)
          end
          `HOLDS(10, below(u_dut.u_banks.read_l_q[g], WriteEnd + TWtrL))
          `HOLDS(10, below(u_dut.u_banks.write_l_q[g], TCcdL))
          `HOLDS(10, below(u_dut.u_banks.rrd_l_q[g], TRrdL))
        end
        for (int unsigned i = 0; i < 4; i++) begin
          `HOLDS(11, guards(u_dut.u_channel.faw_q[u_dut.u_channel.faw_head_q + 2'(i)], acts_q[3-i], TFaw))
          `HOLDS(11, below(u_dut.u_channel.faw_q[i], TFaw))
        end
        `HOLDS(11, bars(u_dut.u_channel.any_act_q.clocks, acts_q[3], TFaw))
        `HOLDS(11, clocks(u_dut.u_channel.any_act_q.clocks) <= time_t'(most(TRp, most(TRrdS, TFaw))))
        `HOLDS(11, clocks(u_dut.u_channel.read_s_q.clocks) <= time_t'(WriteEnd + TWtrL + LaneSpacing))
        `HOLDS(11, clocks(u_dut.u_channel.write_s_q.clocks) <= time_t'(ReadToWrite + TCcdL))
        `HOLDS(11, below(u_dut.u_banks.read_far_q, WriteEnd + TWtrL))
        `HOLDS(11, below(u_dut.u_banks.write_far_q, TCcdL))
        `HOLDS(11, clocks(u_dut.u_channel.act_last_q.clocks) <= time_t'(TRc))
        `HOLDS(11, clocks(u_dut.u_channel.pre_last_q.clocks) <= time_t'(CloseTime - 2 * CkRatio))
        `HOLDS(11, below(u_dut.u_banks.read_last_q, TRcdRd))
        `HOLDS(11, below(u_dut.u_banks.write_last_q, TRcdWr))
      end
    end
  end

  // ---- the two accesses in question: what is counted down for them is no less than the stamps
  logic [1:0] asked, asked_all, asked_write, asked_open, asked_hit;
  logic [1:0][BankBits-1:0] asked_bank;
  logic [1:0][RowBits-1:0] asked_row;
  logic [1:0][15:0] asked_col, asked_act, asked_pre;
  logic [1:0][2:0] asked_beyond;

  assign asked = {AllBank ? u_dut.head_valid && !u_dut.head_all : u_dut.next_valid, u_dut.head_valid};
  assign asked_all = {1'b0, u_dut.head_all};
  assign asked_write = {u_dut.next_write, u_dut.head_write};
  assign asked_bank = {u_dut.ahead_bank, u_dut.head_bank};
  assign asked_row = {u_dut.ahead_row, u_dut.head_row};
  assign asked_open = {u_dut.u_waits.ahead_q.open, u_dut.u_waits.head_q.open};
  assign asked_hit = {u_dut.u_waits.ahead_q.hit, u_dut.u_waits.head_q.hit};
  assign asked_col = {16'(u_dut.u_waits.ahead_q.col.clocks), 16'(u_dut.u_waits.head_q.col.clocks)};
  assign asked_act = {16'(u_dut.u_waits.ahead_q.act.clocks), 16'(u_dut.u_waits.head_q.act.clocks)};
  assign asked_beyond[0] = {u_dut.u_waits.head_q.col.beyond, u_dut.u_waits.head_q.act.beyond,
                            u_dut.u_waits.head_q.pre.beyond};
  assign asked_beyond[1] = {u_dut.u_waits.ahead_q.col.beyond, u_dut.u_waits.ahead_q.act.beyond,
                            u_dut.u_waits.ahead_q.pre.beyond};
  assign asked_pre = {16'(u_dut.u_waits.ahead_q.pre.clocks), 16'(u_dut.u_waits.head_q.pre.clocks)};

  always_comb begin
    if (rst_ni && !asleep) begin
      if (u_dut.head_valid) begin
        `HOLDS(16, u_dut.u_queue.head_write_q == pim_pkg::is_write(u_dut.u_queue.head_kind_q))
        `HOLDS(16, u_dut.u_queue.head_copy_out_q ==
               (u_dut.u_queue.head_kind_q == pim_pkg::KindCopyOut))
        `HOLDS(16, u_dut.u_queue.head_copy_in_q ==
               (u_dut.u_queue.head_kind_q == pim_pkg::KindCopyIn))
        `HOLDS(16, u_dut.u_queue.head_final_q == (32'(u_dut.u_queue.head_count_q) == 32'd1))
        `HOLDS(16, in_page(u_dut.head_addr, u_dut.head_count, u_dut.head_to_all))
        `HOLDS(16, u_dut.u_queue.pace_q == (u_dut.u_queue.head_kind_q != pim_pkg::KindMac ||
               LaneLatency == 1 || 7'($countones(u_dut.u_queue.issued_q)) < u_dut.u_queue.head_period_q))
        if (!AllBank) `HOLDS(16, !u_dut.u_queue.head_all_q)
      end
      if (u_dut.next_valid) begin
        `HOLDS(16, u_dut.head_valid)
        `HOLDS(16, in_page(u_dut.next_addr, u_dut.u_queue.next_q.run.count, u_dut.u_queue.next_q.run.all))
        if (!AllBank) `HOLDS(16, !u_dut.u_queue.next_q.run.all)
      end
      // What is known a clock ahead is what the clocks say.
      `HOLDS(23, u_dut.u_channel.read_s_q.beyond == (u_dut.u_channel.read_s_q.clocks >= CkRatio))
      `HOLDS(23, u_dut.u_channel.write_s_q.beyond == (u_dut.u_channel.write_s_q.clocks >= CkRatio))
      `HOLDS(23, u_dut.u_channel.any_act_q.beyond == (u_dut.u_channel.any_act_q.clocks >= CkRatio))
      `HOLDS(23, u_dut.u_channel.act_last_q.beyond == (u_dut.u_channel.act_last_q.clocks >= CkRatio))
      `HOLDS(23, u_dut.u_channel.pre_last_q.beyond == (u_dut.u_channel.pre_last_q.clocks >= CkRatio))
      for (int unsigned i = 0; i < 2; i++) begin
        if (asked[i]) begin
          `HOLDS(23, asked_beyond[i] == {asked_col[i] >= CkRatio, asked_act[i] >= CkRatio, asked_pre[i] >= CkRatio})
        end
      end
      for (int unsigned i = 0; i < 2; i++) begin
        if (asked[i] && asked_all[i]) begin
          `HOLDS(17, asked_hit[i] == (u_dut.u_banks.together_q && bank_row[0] == asked_row[i]))
          `HOLDS(17, asked_act[i] >= 16'(u_dut.u_channel.act_last_q.clocks))
          `HOLDS(17, asked_pre[i] >= 16'(u_dut.u_channel.pre_last_q.clocks))
          `HOLDS(17, covers(asked_col[i], asked_write[i] ? u_dut.u_banks.write_last_q : u_dut.u_banks.read_last_q))
          `HOLDS(17, covers(asked_col[i], asked_write[i] ? u_dut.u_banks.write_far_q : u_dut.u_banks.read_far_q))
        end else if (asked[i]) begin
          `HOLDS(18, asked_open[i] == u_dut.u_banks.open_q[asked_bank[i]])
          `HOLDS(18, asked_hit[i] == (asked_open[i] && bank_row[asked_bank[i]] == asked_row[i]))
          if (u_dut.u_banks.used_q[asked_bank[i]]) begin
            `HOLDS(21, covers(asked_act[i], bank_act_at[asked_bank[i]]))
            `HOLDS(21, covers(asked_act[i], bank_rp_at[asked_bank[i]]))
          end
          if (asked_open[i]) begin
            `HOLDS(22, covers(asked_pre[i], bank_ras_at[asked_bank[i]]))
            if (u_dut.u_banks.read_from_q[asked_bank[i]]) begin
              `HOLDS(22, covers(asked_pre[i], bank_read_pre_at[asked_bank[i]]))
            end
            if (u_dut.u_banks.written_q[asked_bank[i]]) begin
              `HOLDS(22, covers(asked_pre[i], bank_write_pre_at[asked_bank[i]]))
            end
          end
          if (asked_open[i] && (!AllBank || i == 0)) begin
            `HOLDS(19, covers(asked_col[i], asked_write[i] ? bank_write_at[asked_bank[i]]
                                                          : bank_read_at[asked_bank[i]]))
          end
          if (!AllBank || i == 0) begin
            `HOLDS(19, covers(asked_col[i], asked_write[i] ? u_dut.u_banks.write_l_q[GroupBits'(asked_bank[i])]
                                                          : u_dut.u_banks.read_l_q[GroupBits'(asked_bank[i])]))
          end
        end
        if (asked[i]) begin
          `HOLDS(20, covers(asked_act[i], u_dut.u_banks.rrd_l_q[GroupBits'(asked_bank[i])]))
          `HOLDS(20, clocks(asked_act[i]) <= time_t'(most(TRc, TRrdL)))
          `HOLDS(20, clocks(asked_pre[i]) <= time_t'(CloseTime - 2 * CkRatio))
          if (!AllBank || i == 0) begin
            `HOLDS(20, clocks(asked_col[i]) <= time_t'(most(most(TRcdRd, TRcdWr), most(TCcdL, WriteEnd + TWtrL))))
          end
        end
      end
    end
  end

  // Time until REF can go out, when it is owed: a ranking that falls with every clock.
  time_t rest, close, rank;
  always_comb begin
    close = clocks(u_dut.u_channel.pre_last_q.clocks);
    rest = longer(16'(u_dut.u_channel.act_last_q.clocks), 16'(u_dut.u_channel.rest_q.clocks));
    rank = open_q != '0 ? close + time_t'(RestTime) : rest;
  end

  always_comb begin
    if (rst_ni && !asleep) begin
      `HOLDS(5, u_dut.u_refresh.refi_q <= 16'(TRefi))
      `HOLDS(5, u_dut.u_refresh.owed_q == 4'(owed_q))
      if (missing_q) `HOLDS(5, owed_q)
      `HOLDS(5, u_dut.u_refresh.refi_q + refi_q == 16'(TRefi))
      if (owed_q) begin
        `HOLDS(5, at(refi_q) + rank <= time_t'(LateMost))
        `HOLDS(5, missing_q ? open_q == '0 && now == at(refi_q) : now >= floor_q)
        `HOLDS(5, now <= at(refi_q) + time_t'(TRefi))
      end else begin
        `HOLDS(5, now <= at(refi_q))
        `HOLDS(5, now + time_t'(LateMost) >= at(refi_q))
      end
    end
  end

  // ---- progress: a request for which nothing but the memory is missing is served in time -----
  // Longest ways to the column command: from an ACT that may go, from a PRE that may go, from REF.
  localparam int unsigned ColumnTime = most(TRcdRd, TRcdWr) + WriteEnd + TWtrL + LaneSpacing +
      ReadToWrite + TCcdL + 2 * CkRatio + TXsdll;
  localparam int unsigned ActTime = most(most(TRc, TFaw), most(TRp, TRrdL)) + 2 * CkRatio +
      ColumnTime;
  localparam int unsigned OpenTime = most(CloseTime, TXs) + ActTime;
  localparam int unsigned RefTime = TRfc + 2 * CkRatio + ColumnTime;
  // With a refresh in between, of which there is at most one.
  localparam int unsigned WaitMost = OpenTime + LateMost + RefTime;
  // Shorter only to reach the covers sooner; nothing is claimed of waits then.
  localparam bit OneRefresh = TRefi >= WaitMost + LateMost + 4 * CkRatio;
  if (Mode != 0 && !OneRefresh) begin : gen_check_wait
    $error("%m: tREFI too short for one refresh in a wait");
  end

  logic head_ready;
  assign head_ready = rst_ni && !asleep && !sleep_i && !flush_i && u_dut.u_queue.head_valid_q &&
      (!u_dut.u_queue.head_hold_q || u_dut.quiet) &&
      (u_dut.u_queue.head_kind_q != pim_pkg::KindCopyOut || copy_out_room_i) &&
      (u_dut.u_queue.head_kind_q != pim_pkg::KindCopyIn || copy_in_ready_i) &&
      (u_dut.u_queue.head_kind_q != pim_pkg::KindMac || LaneLatency == 1 ||
       7'($countones(u_dut.u_queue.issued_q)) < u_dut.u_queue.head_period_q);

  // DRAM clocks for which it has been so, and whether a refresh was owed in them.
  logic [StampBits-1:0] waited_q;
  logic refreshed_q;
  always_ff @(posedge clk_i) begin
    if (!head_ready || u_dut.col_go) begin
      waited_q <= '0;
      refreshed_q <= 1'b0;
    end else begin
      waited_q <= waited_q + StampBits'(CkRatio);
      refreshed_q <= refreshed_q || owed_q;
    end
  end

  // A ranking that falls with every clock in which the request waits.
  time_t left, waited;
  logic [15:0] col_left, act_left;
  assign col_left = most16(asked_col[0], most16(16'(u_dut.u_channel.lock_q.clocks),
      u_dut.head_write ? 16'(u_dut.u_channel.write_s_q.clocks) : 16'(u_dut.u_channel.read_s_q.clocks)));
  assign act_left = most16(asked_act[0], most16(16'(u_dut.u_channel.any_act_q.clocks), 16'(u_dut.u_channel.rest_q.clocks)));
  logic refresh_seen;
  assign waited = time_t'({2'b0, waited_q});
  assign refresh_seen = refreshed_q || owed_q;
  always_comb begin
    if (owed_q) left = rank + time_t'(RefTime);
    else if (u_dut.head_hit) left = clocks(col_left);
    else if (u_dut.u_choice.row_cmd == pim_pkg::CmdAct) left = clocks(act_left) + time_t'(ColumnTime);
    else left = clocks(asked_pre[0]) + time_t'(ActTime);
  end

  always_comb begin
    if (head_ready && OneRefresh) begin
      `HOLDS(15, waited <= time_t'(WaitMost))
      `HOLDS(15, waited + left <= time_t'(refresh_seen ? WaitMost : OpenTime))
      if (refresh_seen) begin
        `HOLDS(15, at(refi_q) <= waited + time_t'(LateMost))
      end
    end
  end

  // ---- covers: the proof is about something ---------------------------------------------
  // A list's life from reset: woken, refreshed, a row opened, read and written, closed, asleep again.
  logic opened_q, wrote_q, closed_q;
  always_ff @(posedge clk_i) begin
    opened_q <= rst_ni && (opened_q || is_act);
    wrote_q <= rst_ni && (wrote_q || is_wr);
    closed_q <= rst_ni && (closed_q || (wrote_q && is_pre));
  end

  if (FromReset) begin : gen_from_reset
    // One read and one write of the same row, and then nothing more: a witness is enough, and z3 need
    // not look for the inputs.
    logic [4:0] clock_q;
    always_ff @(posedge clk_i) clock_q <= !rst_ni ? '0 : clock_q == '1 ? clock_q : clock_q + 5'd1;
    always_comb begin
      assume (wake_i == (rst_ni && clock_q == 5'd1));
      assume (sleep_i == (rst_ni && clock_q >= 5'd17 && idle));
      assume (!flush_i && copy_out_room_i && copy_in_ready_i && !lanes_busy_i);
      assume (valid_i == (rst_ni && (clock_q == 5'd3 || clock_q == 5'd4)));
      assume (span_i.run.addr == '0 && span_i.run.count == 32'd1 && span_i.last);
      assume (!span_i.run.all && !span_i.run.hold && span_i.run.period == '0);
      assume (span_i.run.kind == (clock_q == 5'd3 ? pim_pkg::KindCopyOut : pim_pkg::KindCopyIn));
    end

    always_comb begin
      if (rst_ni) begin
        cover (is_ref);
        cover (is_rd && opened_q);
        cover (is_wr && opened_q);
        cover (wrote_q && is_pre && open_q != '0);
        cover (closed_q && asleep);
      end
    end
  end

  always_comb begin
    if (rst_ni && !FromReset) begin
      cover (is_ref);
      cover (is_rd && lock_q != Far && 32'(lock_q) + 32'(col_slot) == TXsdll);
      cover (asleep && ref_q != Far);
      cover (refreshed_q && ref_q != Far && u_dut.col_go);
      cover (is_rd && is_act);
      cover (is_wr && kept(grd_q[0], col_slot, ReadToWrite) && grd_q[0] != Far);
      cover (is_rd && gwr_q[0] != Far && 32'(gwr_q[0]) + 32'(col_slot) == WriteEnd + TWtrL);
      cover (is_pre && open_q != '0 && !row_all);
      cover (is_act && acts_q[3] != Far && 32'(acts_q[3]) + 32'(row_slot) == TFaw);
      cover (is_act && ref_q != Far && 32'(ref_q) + 32'(row_slot) == TRfc);
    end
  end

  `undef HOLDS

endmodule
