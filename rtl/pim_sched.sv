`default_nettype none

/// DRAM command scheduler: turns spans into ACT, PRE, RD, WR and REF commands.
///
/// One fabric clock has `CkRatio` command slots, one a DRAM clock. In each at most one column
/// and one row command are sent, each in the first slot in which every timing rule allows it.
/// Columns go strictly in order; rows are prepared ahead: for the next span when its bank is
/// not the current one's (per_bank), for the next atoms of the span (all_bank).
///
/// What the choice depends on is made a clock ahead: `pim_sched_waits` has the DRAM clocks that the
/// access in front, and the one whose row is prepared, still have to wait. The times are kept in
/// `pim_sched_banks`, where an access is looked up once, when it enters the queue.
///
/// Data move a fixed number of fabric clocks after their command: `read_o` tells when read data
/// are due, `write_o` two clocks before write data are. Refresh is due every tREFI; it stops the
/// columns, closes all banks and goes out.
///
/// Between lists the device sleeps in self-refresh; `wake_i` leaves it. One refresh more is owed
/// then (JESD79-4: at least one before self-refresh is entered again). It goes out at tXS, in the
/// time that the DLL needs to lock anyway: no column command before tXSDLL.
module pim_sched #(
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
  /// DRAM clocks the lanes need for a beat and as many rows as they serve at the same time.
  parameter int unsigned LaneSpacing = 4,
  /// Rows of the left operand for a beat; those at the same time.
  parameter int unsigned RowsPerBeat = 1,
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
  localparam int unsigned RowBits = $clog2(Rows);
  localparam int unsigned AtomBits = $clog2(AtomBytes);
  localparam int unsigned ColBits = $clog2(RowBytes / AtomBytes);
  localparam int unsigned SlotBits = $clog2(CkRatio);
  localparam int unsigned ReadLatency =
      (32'(Timing.cl) + 32'(Timing.bl) + CkRatio - 1) / CkRatio;
  // Two clocks less than the data need: the accumulators are read and rounded in them.
  localparam int unsigned WriteLatency =
      (32'(Timing.cwl) + 32'(Timing.bl) + CkRatio - 1) / CkRatio - 2;
  localparam int unsigned StampBits = Timing.refi != '0 ? 16 : 48;
  localparam int unsigned WaitBits =
      $clog2(pim_pkg::longest_wait(Timing, RowsPerBeat / LaneSets * LaneSpacing) + 4 * CkRatio);
  localparam int unsigned RestBits = $clog2(pim_pkg::longest_rest(Timing) + 4 * CkRatio);

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

  // Where an address lies, and whether the accesses of a span lie in several banks.
  localparam bit Walks = AllBank;

  function automatic logic [BankBits-1:0] bank_of(logic [31:0] addr);
    return AllBank ? addr[AtomBits+:BankBits] : addr[AtomBits+ColBits+RowBits+:BankBits];
  endfunction

  function automatic logic [RowBits-1:0] row_of(logic [31:0] addr);
    return AllBank ? addr[AtomBits+BankBits+ColBits+:RowBits] : addr[AtomBits+ColBits+:RowBits];
  endfunction

  // ---- queue ----------------------------------------------------------------------------
  logic head_valid, head_write, head_copy_out, head_copy_in, head_final, head_all, step_end, pace, next_valid, head_done, take;
  logic next_write, coming_all, coming_write, col_go, ahead_hit;
  logic [31:0] head_addr, head_count;
  pim_pkg::kind_e head_kind;
  logic head_to_all, head_hold, head_last;
  logic [2:0] head_lanes_row;
  logic [BankBits-1:0] look;
  logic [31:0] next_addr, coming_addr, look_coming;

  pim_sched_queue #(
    .AllBank(AllBank), .Walks(Walks), .Banks(Banks), .RowBytes(RowBytes), .AtomBytes(AtomBytes),
    .LaneLatency(LaneLatency)
  ) u_queue (
    .clk_i, .rst_ni, .flush_i, .valid_i, .ready_o, .span_i,
    .col_go_i(col_go), .look_hit_i(ahead_hit),
    .head_valid_o(head_valid), .head_addr_o(head_addr), .head_count_o(head_count),
    .head_kind_o(head_kind), .head_all_o(head_to_all), .head_hold_o(head_hold),
    .head_row_o(head_lanes_row), .head_last_o(head_last), .head_write_o(head_write),
    .head_copy_out_o(head_copy_out), .head_copy_in_o(head_copy_in),
    .head_final_o(head_final), .step_end_o(step_end), .pace_o(pace),
    .next_valid_o(next_valid), .next_addr_o(next_addr), .next_write_o(next_write),
    .head_done_o(head_done), .take_o(take),
    .coming_addr_o(coming_addr), .coming_all_o(coming_all), .coming_write_o(coming_write),
    .look_o(look), .look_coming_o(look_coming)
  );

  // ---- the two accesses in question ------------------------------------------------------
  logic [31:0] ahead_addr, ahead_coming;
  logic [BankBits-1:0] head_bank, ahead_bank;
  logic [RowBits-1:0] head_row, ahead_row;
  logic change, promote, load_head, load_ahead, ahead_valid, ahead_write;

  assign head_all = AllBank && head_to_all;
  assign ahead_addr = AllBank ? head_addr + (32'(look) << AtomBits) : next_addr;
  assign head_bank = bank_of(head_addr);
  assign head_row = row_of(head_addr);
  assign ahead_bank = bank_of(ahead_addr);
  assign ahead_row = row_of(ahead_addr);
  assign ahead_valid = head_valid && (AllBank ? !head_all && 32'(look) < head_count
                                              : next_valid && ahead_bank != head_bank);
  assign change = head_done || !head_valid;
  assign promote = !Walks && change && next_valid;
  assign load_head = Walks ? change || (col_go && !head_all) : change && !next_valid;
  assign load_ahead = AllBank ? !coming_all : take && !change;
  assign ahead_coming = AllBank ? look_coming : span_i.run.addr;
  assign ahead_write = !AllBank && pim_pkg::is_write(span_i.run.kind);

  // Looked up: the span that enters; the first access of the next clock, when accesses walk through
  // the banks; the atom ahead of it (all_bank).
  localparam int unsigned Looks = 1 + 32'(Walks);
  logic [Looks-1:0] look_up, look_all, look_write, look_open, look_hit;
  logic [Looks-1:0][BankBits-1:0] look_bank;
  logic [Looks-1:0][RowBits-1:0] look_row;
  logic [Looks-1:0][WaitBits:0] look_col, look_act, look_pre;

  if (Walks) begin : gen_looks
    assign look_up = {load_ahead, load_head};
    assign look_bank = {bank_of(ahead_coming), bank_of(coming_addr)};
    assign look_row = {row_of(ahead_coming), row_of(coming_addr)};
    assign look_all = {1'b0, coming_all};
    assign look_write = {ahead_write, coming_write};
  end else begin : gen_look
    assign look_up = take;
    assign look_bank = bank_of(ahead_coming);
    assign look_row = row_of(ahead_coming);
    assign look_all = 1'b0;
    assign look_write = ahead_write;
    logic unused;
    assign unused = ^{coming_addr, coming_all, coming_write};
  end

  // ---- times and waits ------------------------------------------------------------------
  logic awake, owed, any_open, rest, head_hit, head_open, ahead_open;
  logic [StampBits-1:0] now, soon;
  logic [WaitBits:0] act_last, pre_last, col_pre;
  logic row_ahead, row_late;
  logic [SlotBits-1:0] row_first;
  // In the upper bit whether the rules allow a command in this clock, below it the first slot.
  logic [SlotBits:0] col_due, head_act_due, head_pre_due, ahead_act_due, ahead_pre_due;
  logic [SlotBits:0] read_due, write_due, any_act_due, act_last_due, pre_last_due;

  pim_sched_banks #(
    .AllBank(AllBank), .Banks(Banks), .BankGroups(BankGroups), .Rows(Rows), .CkRatio(CkRatio),
    .StampBits(StampBits), .WaitBits(WaitBits), .Looks(Looks), .Timing(Timing)
  ) u_banks (
    .clk_i, .rst_ni, .wake_i, .now_i(now), .soon_i(soon),
    .col_go_i(col_go), .col_write_i(head_write), .col_all_i(head_all), .col_bank_i(head_bank),
    .col_slot_i(col_slot_o), .row_cmd_i(row_cmd_o), .row_all_i(row_all_o), .row_bank_i(row_bank_o),
    .row_row_i(row_row_o), .row_first_i(row_first), .row_late_i(row_late), .open_o,
    .any_open_o(any_open),
    .look_i(look_up), .look_bank_i(look_bank), .look_row_i(look_row), .look_all_i(look_all),
    .look_write_i(look_write), .look_open_o(look_open), .look_hit_o(look_hit),
    .look_col_o(look_col), .look_act_o(look_act), .look_pre_o(look_pre)
  );

  pim_sched_waits #(
    .AllBank(AllBank), .Looks(Looks), .Banks(Banks), .BankGroups(BankGroups), .Rows(Rows),
    .CkRatio(CkRatio), .WaitBits(WaitBits), .Timing(Timing)
  ) u_waits (
    .clk_i, .rst_ni, .wake_i,
    .col_go_i(col_go), .col_write_i(head_write), .col_all_i(head_all),
    .col_slot_i(col_slot_o), .col_pre_i(col_pre), .row_cmd_i(row_cmd_o), .row_all_i(row_all_o),
    .row_ahead_i(row_ahead), .row_first_i(row_first), .row_late_i(row_late),
    .head_bank_i(head_bank), .head_row_i(head_row), .head_all_i(head_all),
    .head_write_i(head_write), .ahead_bank_i(ahead_bank), .ahead_row_i(ahead_row),
    .ahead_write_i(next_write), .promote_i(promote), .load_head_i(load_head),
    .load_ahead_i(load_ahead), .look_bank_i(look_bank), .look_row_i(look_row),
    .look_all_i(look_all), .look_write_i(look_write), .look_open_i(look_open),
    .look_hit_i(look_hit), .look_col_i(look_col), .look_act_i(look_act), .look_pre_i(look_pre),
    .act_last_i(act_last), .pre_last_i(pre_last),
    .head_hit_o(head_hit), .head_open_o(head_open), .ahead_hit_o(ahead_hit),
    .ahead_open_o(ahead_open), .col_due_o(col_due), .head_act_due_o(head_act_due),
    .head_pre_due_o(head_pre_due), .ahead_act_due_o(ahead_act_due),
    .ahead_pre_due_o(ahead_pre_due)
  );

  pim_sched_channel #(
    .CkRatio(CkRatio), .LaneSpacing(LaneSpacing), .RowsPerBeat(RowsPerBeat), .LaneSets(LaneSets),
    .StampBits(StampBits), .WaitBits(WaitBits), .RestBits(RestBits), .Timing(Timing)
  ) u_channel (
    .clk_i, .rst_ni, .wake_i, .now_i(now), .soon_i(soon),
    .col_go_i(col_go), .col_write_i(head_write),
    .col_lanes_i(head_kind inside {pim_pkg::KindMac, pim_pkg::KindEw, pim_pkg::KindScale}),
    .col_row_i(head_lanes_row), .col_slot_i(col_slot_o),
    .row_cmd_i(row_cmd_o), .row_all_i(row_all_o), .row_first_i(row_first), .row_late_i(row_late),
    .read_due_o(read_due), .write_due_o(write_due), .any_act_due_o(any_act_due),
    .act_last_due_o(act_last_due), .pre_last_due_o(pre_last_due), .act_last_o(act_last),
    .pre_last_o(pre_last), .col_pre_o(col_pre), .rest_o(rest)
  );

  pim_sched_refresh #(
    .CkRatio(CkRatio), .StampBits(StampBits), .Timing(Timing)
  ) u_refresh (
    .clk_i, .rst_ni, .wake_i, .sleep_i, .rest_i(idle_o && rest), .any_open_i(any_open),
    .refresh_i(row_cmd_o == pim_pkg::CmdRef), .slot_i(row_slot_o), .awake_o(awake), .owed_o(owed),
    .now_o(now), .soon_o(soon)
  );

  // ---- the commands of this clock ----------------------------------------------------------
  logic no_reads, no_data, quiet, head_ready;
  always_comb begin
    quiet = no_reads && !lanes_busy_i;
    head_ready = head_valid && pace;
    if (head_hold && !quiet) head_ready = 1'b0;
    if (head_copy_out && !copy_out_room_i) head_ready = 1'b0;
    if (head_copy_in && !copy_in_ready_i) head_ready = 1'b0;
  end

  pim_sched_choice #(
    .AllBank(AllBank), .Banks(Banks), .Rows(Rows), .CkRatio(CkRatio)
  ) u_choice (
    .awake_i(awake), .sleep_i, .owed_i(owed), .any_open_i(any_open),
    .head_valid_i(head_valid), .head_ready_i(head_ready), .head_all_i(head_all),
    .head_write_i(head_write), .head_bank_i(head_bank), .head_row_i(head_row),
    .head_hit_i(head_hit), .head_open_i(head_open), .ahead_valid_i(ahead_valid),
    .ahead_bank_i(ahead_bank), .ahead_row_i(ahead_row), .ahead_hit_i(ahead_hit),
    .ahead_open_i(ahead_open), .col_due_i(col_due), .head_act_due_i(head_act_due),
    .head_pre_due_i(head_pre_due), .ahead_act_due_i(ahead_act_due),
    .ahead_pre_due_i(ahead_pre_due), .read_due_i(read_due), .write_due_i(write_due),
    .any_act_due_i(any_act_due), .act_last_due_i(act_last_due), .pre_last_due_i(pre_last_due),
    .col_go_o(col_go), .col_slot_o, .row_cmd_o, .row_all_o,
    .row_bank_o, .row_row_o, .row_slot_o, .row_ahead_o(row_ahead), .row_first_o(row_first),
    .row_late_o(row_late)
  );

  // ---- data -----------------------------------------------------------------------------
  pim_pkg::access_t col_access;
  assign col_access = '{valid: col_go, addr: head_addr, kind: head_kind,
                        all: head_to_all, step_end: step_end, last: head_last && head_final,
                        row: head_lanes_row};

  pim_sched_data #(
    .ReadLatency(ReadLatency), .WriteLatency(WriteLatency)
  ) u_data (
    .clk_i, .rst_ni, .access_i(col_access), .write_i(head_write), .read_o, .write_o,
    .no_reads_o(no_reads), .no_data_o(no_data)
  );

  // ---- outputs --------------------------------------------------------------------------
  assign idle_o = !head_valid && !next_valid && no_data;
  assign asleep_o = !awake;
  assign copy_issue_o = col_go && (head_copy_in || head_copy_out);
  assign col_cmd_o = !col_go ? pim_pkg::CmdNop : head_write ? pim_pkg::CmdWr : pim_pkg::CmdRd;
  assign col_all_o = head_all;
  assign col_bank_o = head_bank;
  assign col_row_o = head_row;
  assign col_column_o = head_addr[AtomBits+(AllBank ? BankBits : 0)+:ColBits];

endmodule

`default_nettype wire
