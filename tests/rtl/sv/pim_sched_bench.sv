/// pim_sched with pim_timing_check beside it, for test_pim_sched.
///
/// Timing is given number by number, as to pim_top. `stricter_i` = k + 1 switches a second checker
/// on, for which field k of pim_pkg::timing_t (bl = 0) is one clock longer than the scheduler keeps
/// it: the run must then end in the assertion of that rule.
module pim_sched_bench #(
  parameter int unsigned AllBank = 0,
  parameter int unsigned Banks = 16,
  parameter int unsigned BankGroups = 4,
  parameter int unsigned RowBytes = 512,
  parameter int unsigned Rows = 16,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned CkRatio = 4,
  parameter int unsigned LaneSpacing = 4,
  parameter int unsigned RowsPerBeat = 1,
  parameter int unsigned LaneSets = 1,
  parameter int unsigned LaneLatency = 4,
  parameter int unsigned TRcdRd = 17,
  parameter int unsigned TRcdWr = 17,
  parameter int unsigned TRp = 17,
  parameter int unsigned TRas = 39,
  parameter int unsigned TRc = 56,
  parameter int unsigned TCcdS = 4,
  parameter int unsigned TCcdL = 6,
  parameter int unsigned TRrdS = 4,
  parameter int unsigned TRrdL = 6,
  parameter int unsigned TFaw = 26,
  parameter int unsigned TWr = 18,
  parameter int unsigned TRtp = 9,
  parameter int unsigned TWtrS = 3,
  parameter int unsigned TWtrL = 9,
  parameter int unsigned TRefi = 1500,
  parameter int unsigned TRfc = 90,
  parameter int unsigned TXs = 100,
  parameter int unsigned TXsdll = 260,
  parameter int unsigned TCl = 17,
  parameter int unsigned TCwl = 12,
  parameter int unsigned TBl = 4,
  /// Fields that have such a checker.
  parameter int unsigned StrictFields = 0,
  /// 1: every output is held against that of pim_sched_reference.
  parameter bit Reference = 1'b0
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic [4:0]   stricter_i,
  input  logic         wake_i,
  input  logic         sleep_i,
  input  logic         flush_i,
  input  logic         valid_i,
  /// A pim_pkg::span_t.
  input  logic [81:0]  span_i,
  input  logic         copy_out_room_i,
  input  logic         copy_in_ready_i,
  input  logic         lanes_busy_i,
  /// All outputs; the layout is in test_pim_sched.
  output logic [255:0] monitor_o
);

  // generated:timing
  localparam pim_pkg::timing_t Timing = '{
      rcd_rd: 16'(TRcdRd), rcd_wr: 16'(TRcdWr), rp: 16'(TRp), ras: 16'(TRas), rc: 16'(TRc),
      ccd_s: 16'(TCcdS), ccd_l: 16'(TCcdL), rrd_s: 16'(TRrdS), rrd_l: 16'(TRrdL), faw: 16'(TFaw),
      wr: 16'(TWr), rtp: 16'(TRtp), wtr_s: 16'(TWtrS), wtr_l: 16'(TWtrL), refi: 16'(TRefi),
      rfc: 16'(TRfc), xs: 16'(TXs), xsdll: 16'(TXsdll), cl: 16'(TCl), cwl: 16'(TCwl), bl: 16'(TBl)};
  // end generated
  localparam int unsigned Fields = $bits(pim_pkg::timing_t) / 16;
  localparam int unsigned FieldRefi = 6;

  logic ready, idle, asleep, copy_issue, col_all, row_all;
  pim_pkg::access_t read, write;
  pim_pkg::dram_cmd_e col_cmd, row_cmd;
  logic [$clog2(Banks)-1:0] col_bank, row_bank;
  logic [$clog2(CkRatio)-1:0] col_slot, row_slot;
  logic [$clog2(Rows)-1:0] row_row, col_row;
  logic [$clog2(RowBytes / AtomBytes)-1:0] col_column;
  logic [Banks-1:0] open;

  pim_sched #(
    .AllBank(AllBank != 0),
    .Banks(Banks),
    .BankGroups(BankGroups),
    .RowBytes(RowBytes),
    .Rows(Rows),
    .AtomBytes(AtomBytes),
    .CkRatio(CkRatio),
    .LaneSpacing(LaneSpacing),
    .RowsPerBeat(RowsPerBeat),
    .LaneSets(LaneSets),
    .LaneLatency(LaneLatency),
    .Timing(Timing)
  ) u_sched (
    .clk_i,
    .rst_ni,
    .wake_i,
    .sleep_i,
    .asleep_o(asleep),
    .flush_i,
    .valid_i,
    .ready_o(ready),
    .span_i,
    .idle_o(idle),
    .copy_out_room_i,
    .copy_in_ready_i,
    .lanes_busy_i,
    .copy_issue_o(copy_issue),
    .read_o(read),
    .write_o(write),
    .col_cmd_o(col_cmd),
    .row_cmd_o(row_cmd),
    .col_all_o(col_all),
    .row_all_o(row_all),
    .col_bank_o(col_bank),
    .row_bank_o(row_bank),
    .col_slot_o(col_slot),
    .row_slot_o(row_slot),
    .row_row_o(row_row),
    .col_row_o(col_row),
    .col_column_o(col_column),
    .open_o(open)
  );

  pim_command_trace_sim #(
    .Banks(Banks),
    .Rows(Rows),
    .Columns(RowBytes / AtomBytes),
    .CkRatio(CkRatio)
  ) u_trace (
    .clk_i,
    .rst_ni,
    .wake_i,
    .asleep_i(asleep),
    .col_cmd_i(col_cmd),
    .row_cmd_i(row_cmd),
    .col_all_i(col_all),
    .row_all_i(row_all),
    .col_bank_i(col_bank),
    .row_bank_i(row_bank),
    .col_slot_i(col_slot),
    .row_slot_i(row_slot),
    .row_row_i(row_row),
    .col_row_i(col_row),
    .col_column_i(col_column)
  );

  // Fixed places, whatever the geometry.
  always_comb begin
    monitor_o = '0;
    monitor_o[0] = ready;
    monitor_o[1] = idle;
    monitor_o[2] = asleep;
    monitor_o[3] = copy_issue;
    monitor_o[4+:4] = 4'(col_cmd);
    monitor_o[8+:4] = 4'(row_cmd);
    monitor_o[12] = col_all;
    monitor_o[13] = row_all;
    monitor_o[16+:8] = 8'(col_bank);
    monitor_o[24+:8] = 8'(row_bank);
    monitor_o[32+:8] = 8'(col_slot);
    monitor_o[40+:8] = 8'(row_slot);
    monitor_o[48+:16] = 16'(col_row);
    monitor_o[64+:16] = 16'(row_row);
    monitor_o[80+:32] = 32'(open);
    monitor_o[112+:43] = read;
    monitor_o[156+:43] = write;
  end

  typedef logic [Fields-1:0][15:0] fields_t;

  function automatic fields_t strict(int unsigned field);
    strict = Timing;
    // Refreshes may be postponed eight times: one clock more or less cannot be seen.
    if (field == FieldRefi) strict[field] = Timing.refi >> 4;
    else if (field < Fields) strict[field] = strict[field] + 16'd1;
  endfunction

  // Before the first reset everything is random, the clock's first level too: nothing to check.
  logic reset_seen;
  initial reset_seen = 1'b0;
  always_ff @(posedge clk_i) if (!rst_ni) reset_seen <= 1'b1;

  if (Reference) begin : gen_reference
    // The scheduler as it was before it was made to meet timing, with the same inputs: every output
    // of every clock is the same. What a command does not use may be anything.
    logic ref_ready, ref_idle, ref_asleep, ref_copy_issue, ref_col_all, ref_row_all;
    pim_pkg::access_t ref_read, ref_write;
    pim_pkg::dram_cmd_e ref_col_cmd, ref_row_cmd;
    logic [$clog2(Banks)-1:0] ref_col_bank, ref_row_bank;
    logic [$clog2(CkRatio)-1:0] ref_col_slot, ref_row_slot;
    logic [$clog2(Rows)-1:0] ref_row_row, ref_col_row;
    logic [$clog2(RowBytes / AtomBytes)-1:0] ref_col_column;
    logic [Banks-1:0] ref_open;

    pim_sched_reference #(
      .AllBank(AllBank != 0),
      .Banks(Banks),
      .BankGroups(BankGroups),
      .RowBytes(RowBytes),
      .Rows(Rows),
      .AtomBytes(AtomBytes),
      .CkRatio(CkRatio),
      .LaneSpacing(LaneSpacing),
      .LaneSets(LaneSets),
      .LaneLatency(LaneLatency),
      .Timing(Timing)
    ) u_reference (
      .clk_i,
      .rst_ni,
      .wake_i,
      .sleep_i,
      .asleep_o(ref_asleep),
      .flush_i,
      .valid_i,
      .ready_o(ref_ready),
      .span_i,
      .idle_o(ref_idle),
      .copy_out_room_i,
      .copy_in_ready_i,
      .lanes_busy_i,
      .copy_issue_o(ref_copy_issue),
      .read_o(ref_read),
      .write_o(ref_write),
      .col_cmd_o(ref_col_cmd),
      .row_cmd_o(ref_row_cmd),
      .col_all_o(ref_col_all),
      .row_all_o(ref_row_all),
      .col_bank_o(ref_col_bank),
      .row_bank_o(ref_row_bank),
      .col_slot_o(ref_col_slot),
      .row_slot_o(ref_row_slot),
      .row_row_o(ref_row_row),
      .col_row_o(ref_col_row),
      .col_column_o(ref_col_column),
      .open_o(ref_open)
    );

    always_ff @(posedge clk_i) begin
      if (rst_ni && reset_seen) begin
        assert ({asleep, ready, idle, copy_issue, open} ==
                {ref_asleep, ref_ready, ref_idle, ref_copy_issue, ref_open})
        else $fatal(1, "not as the reference: state");
        assert (read == ref_read && write == ref_write)
        else $fatal(1, "not as the reference: data times");
        assert (col_cmd == ref_col_cmd) else $fatal(1, "not as the reference: column command");
        assert (row_cmd == ref_row_cmd) else $fatal(1, "not as the reference: row command");
        assert (col_cmd == pim_pkg::CmdNop ||
                {col_all, col_slot, col_bank, col_row, col_column} ==
                {ref_col_all, ref_col_slot, ref_col_bank, ref_col_row, ref_col_column})
        else $fatal(1, "not as the reference: column access");
        assert (row_cmd == pim_pkg::CmdNop || {row_all, row_slot} == {ref_row_all, ref_row_slot})
        else $fatal(1, "not as the reference: slot of the row command");
        assert (row_cmd != pim_pkg::CmdAct || row_row == ref_row_row)
        else $fatal(1, "not as the reference: row");
        assert (row_all || row_cmd == pim_pkg::CmdNop || row_bank == ref_row_bank)
        else $fatal(1, "not as the reference: bank of the row command");
      end
    end
  end

  // Checker 0 has the scheduler's own timing and is always on.
  for (genvar k = 0; k <= Fields; k++) begin : gen_check
    if (k == 0 || ((StrictFields >> (k - 1)) & 1) != 0) begin : gen_one
      localparam pim_pkg::timing_t Strict = k == 0 ? Timing : strict(k - 1);
      logic on;
      assign on = rst_ni && reset_seen && (k == 0 || 32'(stricter_i) == k);
      pim_timing_check #(
        .Banks(Banks),
        .BankGroups(BankGroups),
        .Rows(Rows),
        .CkRatio(CkRatio),
        .Timing(Strict)
      ) u_check (
        .clk_i,
        .rst_ni(on),
        .wake_i,
        .asleep_i(asleep),
        .col_cmd_i(col_cmd),
        .row_cmd_i(row_cmd),
        .col_all_i(col_all),
        .row_all_i(row_all),
        .col_bank_i(col_bank),
        .row_bank_i(row_bank),
        .col_slot_i(col_slot),
        .row_slot_i(row_slot),
        .row_row_i(row_row),
        .col_row_i(col_row)
      );
    end
  end

endmodule
