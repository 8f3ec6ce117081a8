`default_nettype none

/// DRAM command scheduler: turns spans into ACT, PRE, RD, WR and REF commands.
///
/// One fabric clock has `CkRatio` command slots, one a DRAM clock. In each at most one column
/// and one row command are sent, each in the first slot in which every timing rule allows it.
/// Columns go strictly in order; rows are prepared ahead: for the next span when its bank is
/// not the current one's (per_bank), for the next atoms of the span (all_bank).
///
/// Time is counted in DRAM clocks since the last refresh or wake-up, and every rule is kept as
/// the earliest clock at which the next command of its kind may go. Because all of these end
/// with the refresh, the stamps are short and never wrap; without refresh (tREFI = 0) they have 48
/// bits, days of time awake.
///
/// Data move a fixed number of fabric clocks after their command: `read_o` tells when read data
/// are due, `write_o` two clocks before write data are. Refresh is due every tREFI; it stops the
/// columns, closes all banks and goes out.
///
/// Between lists the device sleeps in self-refresh; `wake_i` leaves it. One refresh more is owed
/// then (JESD79-4: at least one before self-refresh is entered again). It goes out at tXS, in the
/// time that the DLL needs to lock anyway: no column command before tXSDLL.
module pim_sched_reference #(
  /// 1: all_bank style, banks share their row address and are accessed together.
  parameter bit AllBank = 1'b0,
  parameter int unsigned Banks = 16,
  parameter int unsigned BankGroups = 4,
  /// Bytes of one row of one bank.
  parameter int unsigned RowBytes = 8192,
  parameter int unsigned Rows = 4096,
  /// Bytes of one column access of one bank.
  parameter int unsigned AtomBytes = 64,
  /// DRAM clocks in a fabric clock.
  parameter int unsigned CkRatio = 4,
  /// DRAM clocks the lanes need for a beat.
  parameter int unsigned LaneSpacing = 4,
  /// Rows of the left operand that the lanes work on at the same time.
  parameter int unsigned LaneSets = 1,
  /// Fabric clocks between two operations on the same accumulators.
  parameter int unsigned LaneLatency = 4,
  parameter pim_pkg::timing_t Timing = '0
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  /// Pulse: leave self-refresh.
  input  wire logic              wake_i,
  /// Level: close all rows and enter self-refresh.
  input  wire logic              sleep_i,
  output logic                   asleep_o,
  /// Drop the spans that are waiting.
  input  wire logic              flush_i,
  input  wire logic              valid_i,
  output logic                   ready_o,
  input  wire pim_pkg::span_t    span_i,
  /// No span waits and no data are on their way.
  output logic                   idle_o,
  /// The reader of KindCopyOut can take one more atom.
  input  wire logic              copy_out_room_i,
  /// One more atom of KindCopyIn is there.
  input  wire logic              copy_in_ready_i,
  /// The lanes or what feeds them still work on data already delivered.
  input  wire logic              lanes_busy_i,
  /// A column command of KindCopyIn or KindCopyOut goes out.
  output logic                   copy_issue_o,
  /// Data time of a read; two clocks before the data time of a write.
  output      pim_pkg::access_t  read_o,
  output      pim_pkg::access_t  write_o,
  /// Commands of this fabric clock, for counters and checks.
  output      pim_pkg::dram_cmd_e col_cmd_o,
  output      pim_pkg::dram_cmd_e row_cmd_o,
  output logic                   col_all_o,
  output logic                   row_all_o,
  output logic      [$clog2(Banks)-1:0] col_bank_o,
  output logic      [$clog2(Banks)-1:0] row_bank_o,
  output logic      [$clog2(CkRatio)-1:0] col_slot_o,
  output logic      [$clog2(CkRatio)-1:0] row_slot_o,
  output logic      [$clog2(Rows)-1:0] row_row_o,
  /// Row the column command is meant for.
  output logic      [$clog2(Rows)-1:0] col_row_o,
  output logic      [$clog2(RowBytes / AtomBytes)-1:0] col_column_o,
  /// Banks that are open.
  output logic      [Banks-1:0]  open_o
);

  localparam int unsigned BankBits = $clog2(Banks);
  localparam int unsigned GroupBits = $clog2(BankGroups);
  localparam int unsigned RowBits = $clog2(Rows);
  localparam int unsigned AtomBits = $clog2(AtomBytes);
  localparam int unsigned ColBits = $clog2(RowBytes / AtomBytes);
  localparam int unsigned SlotBits = $clog2(CkRatio);
  localparam int unsigned BeatBytes = AllBank ? Banks * AtomBytes : AtomBytes;
  localparam int unsigned ReadLatency =
      (32'(Timing.cl) + 32'(Timing.bl) + CkRatio - 1) / CkRatio;
  // Two clocks less than the data need: the accumulators are read and rounded in them.
  localparam int unsigned WriteLatency =
      (32'(Timing.cwl) + 32'(Timing.bl) + CkRatio - 1) / CkRatio - 2;
  localparam int unsigned PaceBits = LaneLatency > 1 ? LaneLatency - 1 : 1;
  localparam int unsigned WriteSlotBits = WriteLatency > 1 ? $clog2(WriteLatency) : 1;
  // Bus turnaround, two idle clocks between read and write data (JESD79-4, 4.25).
  localparam bit Refreshed = Timing.refi != '0;
  localparam int unsigned StampBits = Refreshed ? 16 : 48;
  typedef logic [StampBits-1:0] stamp_t;

  localparam stamp_t RcdRd = stamp_t'(Timing.rcd_rd);
  localparam stamp_t RcdWr = stamp_t'(Timing.rcd_wr);
  localparam stamp_t Rp = stamp_t'(Timing.rp);
  localparam stamp_t Ras = stamp_t'(Timing.ras);
  localparam stamp_t Rc = stamp_t'(Timing.rc);
  localparam stamp_t CcdS = stamp_t'(Timing.ccd_s);
  localparam stamp_t CcdL = stamp_t'(Timing.ccd_l);
  localparam stamp_t RrdS = stamp_t'(Timing.rrd_s);
  localparam stamp_t RrdL = stamp_t'(Timing.rrd_l);
  localparam stamp_t Faw = stamp_t'(Timing.faw);
  localparam stamp_t Wr = stamp_t'(Timing.wr);
  localparam stamp_t Rtp = stamp_t'(Timing.rtp);
  localparam stamp_t WtrS = stamp_t'(Timing.wtr_s);
  localparam stamp_t WtrL = stamp_t'(Timing.wtr_l);
  localparam stamp_t Rfc = stamp_t'(Timing.rfc);
  localparam stamp_t Xs = stamp_t'(Timing.xs);
  localparam stamp_t Xsdll = stamp_t'(Timing.xsdll);
  localparam logic [15:0] TurnAround = Timing.cl + Timing.bl + 16'd2 - Timing.cwl;
  localparam logic [15:0] WriteClocks = Timing.cwl + Timing.bl;
  localparam stamp_t ReadToWrite = stamp_t'(TurnAround);
  localparam int unsigned LastSlotIndex = CkRatio - 1;
  localparam stamp_t LastSlot = stamp_t'(LastSlotIndex);
  localparam stamp_t WriteEnd = stamp_t'(WriteClocks);

  if (BankGroups < 2 || Banks % BankGroups != 0) begin : gen_check_groups
    $error("%m: BankGroups must be at least 2 and divide Banks");
  end
  if (32'(Timing.ccd_s) < CkRatio) begin : gen_check_ratio
    $error("%m: at most one column command a fabric clock: tCCD_S must be at least CkRatio");
  end
  if (ReadLatency < LaneLatency) begin : gen_check_latency
    $error("%m: LaneLatency must not exceed the read latency in fabric clocks");
  end
  if (32'(Timing.cwl) + 32'(Timing.bl) <= 3 * CkRatio) begin : gen_check_write
    $error("%m: write latency must be at least four fabric clocks");
  end
  if (2 * 32'(Timing.refi) + 32'(Timing.rfc) + 1024 >= 65536) begin : gen_check_refi
    $error("%m: tREFI too long for 16-bit stamps");
  end

  function automatic stamp_t later(stamp_t a, stamp_t b);
    return a > b ? a : b;
  endfunction

  function automatic logic [BankBits-1:0] bank_of(logic [31:0] addr);
    return AllBank ? addr[AtomBits+:BankBits] : addr[AtomBits+ColBits+RowBits+:BankBits];
  endfunction

  function automatic logic [RowBits-1:0] row_of(logic [31:0] addr);
    return AllBank ? addr[AtomBits+BankBits+ColBits+:RowBits] : addr[AtomBits+ColBits+:RowBits];
  endfunction

  function automatic logic [GroupBits-1:0] group_of(logic [BankBits-1:0] bank);
    return bank[GroupBits-1:0];
  endfunction

  // Queue of two spans. The fields of the first are registers of their own: only its address and
  // count move with every access.
  logic head_valid_q, next_valid_q;
  logic [31:0] head_addr_q, head_count_q;
  pim_pkg::kind_e head_kind_q;
  logic head_all_q, head_hold_q, head_last_q;
  logic [6:0] head_period_q;
  logic [2:0] head_row_q;
  pim_pkg::span_t next_q;

  // Bank state and stamps; `_all` stamps hold for every bank besides its own.
  logic [Banks-1:0] open_q;
  logic [Banks-1:0][RowBits-1:0] row_q;
  stamp_t [Banks-1:0] act_at_q;
  stamp_t [Banks-1:0] read_at_q, write_at_q, pre_at_q;  // of a closed bank: without meaning
  stamp_t act_last_q, read_last_q, write_last_q, pre_last_q;  // latest over the banks
  stamp_t rrd_s_q;
  stamp_t [BankGroups-1:0] rrd_l_q;
  stamp_t [3:0] faw_q;
  logic [1:0] faw_head_q;
  stamp_t read_s_q, write_s_q;
  stamp_t [BankGroups-1:0] read_l_q, write_l_q;
  stamp_t read_far_q, write_far_q;  // latest over the bank groups
  logic together_q;             // all banks were opened by one ACT and share their row

  stamp_t now_q;
  logic [15:0] refi_q;
  logic [3:0] owed_q;
  logic awake_q;

  // Pace of multiply steps.
  logic [6:0] step_q;
  logic [PaceBits-1:0] issued_q;  // fabric clocks before this one with a beat to be multiplied

  // Look-ahead over the atoms of the span (all_bank style).
  logic [BankBits-1:0] look_q;

  pim_pkg::access_t read_ring_q [ReadLatency];
  pim_pkg::access_t write_ring_q [WriteLatency];
  logic [$clog2(ReadLatency)-1:0] read_slot_q;
  logic [WriteSlotBits-1:0] write_slot_q;
  logic [7:0] reads_q, writes_q;  // commands whose data are on their way

  // ---- column command -------------------------------------------------------------------
  logic col_go, col_write, head_open, quiet;
  logic [BankBits-1:0] col_bank;
  stamp_t col_at, last_slot;
  pim_pkg::access_t col_access;

  assign last_slot = now_q + LastSlot;
  assign quiet = reads_q == '0 && !lanes_busy_i;
  assign col_bank = bank_of(head_addr_q);
  assign col_write = pim_pkg::is_write(head_kind_q);

  always_comb begin
    if (head_all_q && AllBank) begin
      head_open = together_q && row_q[0] == row_of(head_addr_q);
      col_at = col_write ? later(write_last_q, later(write_s_q, write_far_q))
                         : later(read_last_q, later(read_s_q, read_far_q));
    end else begin
      head_open = open_q[col_bank] && row_q[col_bank] == row_of(head_addr_q);
      col_at = col_write
          ? later(write_at_q[col_bank], later(write_s_q, write_l_q[group_of(col_bank)]))
          : later(read_at_q[col_bank], later(read_s_q, read_l_q[group_of(col_bank)]));
    end
    col_at = later(col_at, now_q);
    col_go = head_valid_q && head_open && owed_q == '0 && col_at <= last_slot;
    if (head_hold_q && !quiet) col_go = 1'b0;
    if (head_kind_q == pim_pkg::KindCopyOut && !copy_out_room_i) col_go = 1'b0;
    if (head_kind_q == pim_pkg::KindCopyIn && !copy_in_ready_i) col_go = 1'b0;
    // The beat `period` beats ago met the same accumulators.
    if (head_kind_q == pim_pkg::KindMac && LaneLatency > 1 &&
        7'(unsigned'($countones(issued_q))) >= head_period_q) col_go = 1'b0;

    col_access.valid = col_go;
    col_access.addr = head_addr_q;
    col_access.kind = head_kind_q;
    col_access.all = head_all_q;
    col_access.step_end = step_q + 7'd1 == head_period_q;
    col_access.last = head_last_q && head_count_q == 32'd1;
    col_access.row = head_row_q;
  end

  // ---- row command ----------------------------------------------------------------------
  logic row_wanted, row_all, row_go, row_fits;
  pim_pkg::dram_cmd_e row_cmd;
  logic [31:0] row_addr, look_addr;
  logic [BankBits-1:0] row_bank;
  stamp_t row_at;
  logic look_hit;

  assign look_addr = head_addr_q + (32'(look_q) << AtomBits);
  assign look_hit = open_q[bank_of(look_addr)] && row_q[bank_of(look_addr)] == row_of(look_addr);

  always_comb begin
    row_wanted = 1'b0;
    row_all = 1'b0;
    row_addr = head_addr_q;
    row_cmd = pim_pkg::CmdNop;
    if (owed_q != '0 || sleep_i) begin
      row_all = 1'b1;
      row_wanted = awake_q && (open_q != '0 || owed_q != '0);
      row_cmd = open_q != '0 ? pim_pkg::CmdPre : pim_pkg::CmdRef;
    end else if (head_valid_q && !head_open) begin
      row_wanted = 1'b1;
      row_all = AllBank && head_all_q;
      if (row_all) row_cmd = open_q != '0 ? pim_pkg::CmdPre : pim_pkg::CmdAct;
      else row_cmd = open_q[bank_of(row_addr)] ? pim_pkg::CmdPre : pim_pkg::CmdAct;
    end else if (AllBank) begin
      row_addr = look_addr;
      row_wanted = head_valid_q && !head_all_q && 32'(look_q) < head_count_q && !look_hit;
      row_cmd = open_q[bank_of(row_addr)] ? pim_pkg::CmdPre : pim_pkg::CmdAct;
    end else begin
      row_addr = next_q.run.addr;
      row_wanted = head_valid_q && next_valid_q &&
                   bank_of(row_addr) != bank_of(head_addr_q) &&
                   !(open_q[bank_of(row_addr)] && row_q[bank_of(row_addr)] == row_of(row_addr));
      row_cmd = open_q[bank_of(row_addr)] ? pim_pkg::CmdPre : pim_pkg::CmdAct;
    end

    row_bank = bank_of(row_addr);
    unique case (row_cmd)
      pim_pkg::CmdAct: begin
        row_at = later(rrd_s_q, faw_q[faw_head_q]);
        row_at = later(row_at, row_all ? act_last_q : act_at_q[row_bank]);
        row_at = later(row_at, rrd_l_q[group_of(row_bank)]);
      end
      pim_pkg::CmdPre: row_at = row_all ? pre_last_q : pre_at_q[row_bank];
      default: row_at = act_last_q;
    endcase
    row_at = later(row_at, now_q);
    // One command a slot: a row command gives way to the column command.
    if (col_go && row_at == col_at) row_at = row_at + stamp_t'(1);
    row_fits = row_at <= last_slot;
    row_go = row_wanted && row_fits;
  end

  // ---- queue ----------------------------------------------------------------------------
  logic head_done, mac_go, scale_go, take;
  pim_pkg::span_t next_head;

  assign next_head = next_valid_q ? next_q : span_i;
  assign mac_go = col_go && head_kind_q == pim_pkg::KindMac;
  assign scale_go = col_go && head_kind_q == pim_pkg::KindScale;
  assign head_done = col_go && head_count_q == 32'd1;
  assign ready_o = !next_valid_q;
  assign take = valid_i && ready_o;
  assign idle_o = !head_valid_q && !next_valid_q && reads_q == '0 && writes_q == '0;
  assign asleep_o = !awake_q;
  assign copy_issue_o = col_go && (head_kind_q == pim_pkg::KindCopyIn ||
                                   head_kind_q == pim_pkg::KindCopyOut);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      head_valid_q <= 1'b0;
      next_valid_q <= 1'b0;
      head_addr_q <= '0;
      head_count_q <= '0;
      head_kind_q <= pim_pkg::KindCopyOut;
      head_all_q <= 1'b0;
      head_hold_q <= 1'b0;
      head_period_q <= '0;
      head_row_q <= '0;
      head_last_q <= 1'b0;
      next_q <= '0;
      look_q <= '0;
      step_q <= '0;
      issued_q <= '0;
    end else begin
      if (head_done || !head_valid_q) begin
        head_valid_q <= next_valid_q || take;
        next_valid_q <= 1'b0;
        if (next_valid_q || take) begin
          head_addr_q <= next_head.run.addr;
          head_count_q <= next_head.run.count;
          head_kind_q <= next_head.run.kind;
          head_all_q <= next_head.run.all;
          head_hold_q <= next_head.run.hold;
          head_period_q <= next_head.run.period;
          head_row_q <= next_head.run.row;
          head_last_q <= next_head.last;
        end
      end else begin
        if (col_go) begin
          head_addr_q <= head_addr_q +
              ((head_all_q && AllBank) ? 32'(BeatBytes) : 32'(AtomBytes));
          head_count_q <= head_count_q - 32'd1;
          head_hold_q <= 1'b0;
        end
        if (take) begin
          next_valid_q <= 1'b1;
          next_q <= span_i;
        end
      end
      if (AllBank) begin
        if (head_done || !head_valid_q) look_q <= '0;
        else if (col_go) look_q <= look_q == '0 ? '0 : look_q - 1'b1;
        else if (look_hit && look_q != '1 && 32'(look_q) < head_count_q) look_q <= look_q + 1'b1;
      end
      if (mac_go || scale_go) step_q <= col_access.step_end ? '0 : step_q + 7'd1;
      issued_q <= PaceBits'({issued_q, mac_go});
    end
  end

  // ---- stamps ---------------------------------------------------------------------------
  stamp_t col_pre_at, col_ccd;
  logic refresh;

  // A stamp on the clock that starts with the refresh of this clock.
  function automatic stamp_t left_of(stamp_t stamp);
    return stamp > row_at ? stamp - row_at : '0;
  endfunction

  assign refresh = row_go && row_cmd == pim_pkg::CmdRef;
  assign col_pre_at = col_write ? col_at + WriteEnd + Wr : col_at + Rtp;
  // Beats for the lanes: a pass for every LaneSets rows.
  stamp_t lane_gap;
  assign lane_gap = stamp_t'(LaneSpacing) * (stamp_t'(head_row_q) / stamp_t'(LaneSets) + 1'b1);
  assign col_ccd = (head_kind_q inside {pim_pkg::KindMac, pim_pkg::KindEw, pim_pkg::KindScale})
                   && lane_gap > CcdS ? lane_gap : CcdS;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      awake_q <= 1'b0;
      now_q <= '0;
      refi_q <= '0;
      owed_q <= '0;
    end else if (wake_i) begin
      awake_q <= 1'b1;
      now_q <= '0;
      refi_q <= Timing.refi;
      owed_q <= 4'(Refreshed);
    end else if (awake_q) begin
      if (sleep_i && idle_o && open_q == '0 && owed_q == '0 && act_last_q <= now_q) begin
        awake_q <= 1'b0;
      end
      now_q <= refresh ? now_q + stamp_t'(CkRatio) - row_at : now_q + stamp_t'(CkRatio);
      if (Refreshed && refi_q <= 16'(CkRatio)) begin
        refi_q <= refi_q + Timing.refi - 16'(CkRatio);
        owed_q <= owed_q + 4'd1 - 4'(refresh);
      end else if (Refreshed) begin
        refi_q <= refi_q - 16'(CkRatio);
        owed_q <= owed_q - 4'(refresh);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || wake_i || refresh) begin
      open_q <= '0;
      together_q <= 1'b0;
      row_q <= '0;
      act_at_q <= {Banks{refresh ? Rfc : Xs}};
      read_at_q <= '0;
      write_at_q <= '0;
      pre_at_q <= '0;
      rrd_l_q <= '0;
      read_l_q <= '0;
      write_l_q <= '0;
      faw_q <= '0;
      faw_head_q <= '0;
      act_last_q <= refresh ? Rfc : Xs;
      read_last_q <= '0;
      write_last_q <= '0;
      pre_last_q <= '0;
      rrd_s_q <= '0;
      // All other rules end within tRFC and tXS; that of the DLL goes on through the refresh.
      read_s_q <= refresh ? left_of(read_s_q) : Xsdll;
      write_s_q <= refresh ? left_of(write_s_q) : Xsdll;
      read_far_q <= '0;
      write_far_q <= '0;
    end else begin
      if (col_go) begin
        if (col_write) begin
          write_s_q <= col_at + CcdS;
          read_s_q <= later(read_s_q, col_at + WriteEnd + WtrS);
        end else begin
          read_s_q <= col_at + col_ccd;
          write_s_q <= later(write_s_q, col_at + ReadToWrite);
        end
        if (col_write) begin
          write_far_q <= later(write_far_q, col_at + CcdL);
          read_far_q <= later(read_far_q, col_at + WriteEnd + WtrL);
        end else begin
          read_far_q <= later(read_far_q, col_at + CcdL);
        end
        if (AllBank && head_all_q) begin
          if (col_write) write_l_q <= {BankGroups{col_at + CcdL}};
          read_l_q <= {BankGroups{col_write ? col_at + WriteEnd + WtrL
                                            : col_at + CcdL}};
        end else begin
          if (col_write) write_l_q[group_of(col_bank)] <= col_at + CcdL;
          read_l_q[group_of(col_bank)] <= col_write ? col_at + WriteEnd + WtrL
                                                    : col_at + CcdL;
        end
        if (AllBank && head_all_q) begin
          for (int unsigned b = 0; b < Banks; b++) pre_at_q[b] <= later(pre_at_q[b], col_pre_at);
        end else begin
          pre_at_q[col_bank] <= later(pre_at_q[col_bank], col_pre_at);
        end
        pre_last_q <= later(pre_last_q, col_pre_at);
      end
      if (row_go && row_cmd == pim_pkg::CmdAct) begin
        if (AllBank && row_all) begin
          open_q <= '1;
          row_q <= {Banks{row_of(row_addr)}};
          act_at_q <= {Banks{row_at + Rc}};
          read_at_q <= {Banks{row_at + RcdRd}};
          write_at_q <= {Banks{row_at + RcdWr}};
          pre_at_q <= {Banks{row_at + Ras}};
          rrd_l_q <= {BankGroups{row_at + RrdL}};
        end else begin
          open_q[row_bank] <= 1'b1;
          row_q[row_bank] <= row_of(row_addr);
          act_at_q[row_bank] <= row_at + Rc;
          read_at_q[row_bank] <= row_at + RcdRd;
          write_at_q[row_bank] <= row_at + RcdWr;
          pre_at_q[row_bank] <= row_at + Ras;
          rrd_l_q[group_of(row_bank)] <= row_at + RrdL;
        end
        together_q <= row_all;
        act_last_q <= row_at + Rc;
        read_last_q <= row_at + RcdRd;
        write_last_q <= row_at + RcdWr;
        pre_last_q <= later(later(pre_last_q, row_at + Ras), col_go ? col_pre_at : '0);
        rrd_s_q <= row_at + RrdS;
        faw_q[faw_head_q] <= row_at + Faw;
        faw_head_q <= faw_head_q + 2'd1;
      end
      if (row_go && row_cmd == pim_pkg::CmdPre) begin
        together_q <= 1'b0;
        if (row_all) begin
          open_q <= '0;
          for (int unsigned b = 0; b < Banks; b++) begin
            act_at_q[b] <= later(act_at_q[b], row_at + Rp);
          end
        end else begin
          open_q[row_bank] <= 1'b0;
          act_at_q[row_bank] <= later(act_at_q[row_bank], row_at + Rp);
        end
        act_last_q <= later(act_last_q, row_at + Rp);
      end
    end
  end

  // ---- data time ------------------------------------------------------------------------
  assign read_o = read_ring_q[read_slot_q];
  assign write_o = write_ring_q[write_slot_q];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      for (int unsigned i = 0; i < ReadLatency; i++) read_ring_q[i] <= '0;
      for (int unsigned i = 0; i < WriteLatency; i++) write_ring_q[i] <= '0;
      read_slot_q <= '0;
      write_slot_q <= '0;
      reads_q <= '0;
      writes_q <= '0;
    end else begin
      read_ring_q[read_slot_q] <= col_access;
      read_ring_q[read_slot_q].valid <= col_go && !col_write;
      write_ring_q[write_slot_q] <= col_access;
      write_ring_q[write_slot_q].valid <= col_go && col_write;
      read_slot_q <= read_slot_q == ($clog2(ReadLatency))'(ReadLatency - 1) ? '0
                                                                            : read_slot_q + 1'b1;
      write_slot_q <= write_slot_q == WriteSlotBits'(WriteLatency - 1)
                      ? '0 : write_slot_q + 1'b1;
      reads_q <= reads_q + 8'(col_go && !col_write) - 8'(read_o.valid);
      writes_q <= writes_q + 8'(col_go && col_write) - 8'(write_o.valid);
    end
  end

  // ---- commands -------------------------------------------------------------------------
  assign col_cmd_o = !col_go ? pim_pkg::CmdNop : col_write ? pim_pkg::CmdWr : pim_pkg::CmdRd;
  assign col_all_o = AllBank && head_all_q;
  assign col_bank_o = col_bank;
  assign col_slot_o = SlotBits'(col_at - now_q);
  assign col_row_o = row_of(head_addr_q);
  assign col_column_o = head_addr_q[AtomBits+(AllBank ? BankBits : 0)+:ColBits];
  assign row_cmd_o = row_go ? row_cmd : pim_pkg::CmdNop;
  assign row_all_o = row_all;
  assign row_bank_o = row_bank;
  assign row_slot_o = SlotBits'(row_at - now_q);
  assign row_row_o = row_of(row_addr);
  assign open_o = open_q;

endmodule

`default_nettype wire
