`default_nettype none

/// Channel of the device: the scheduler of DRAM commands, the memory port, the event counters, and in
/// simulation a check of every timing rule.
///
/// It takes spans from the engine and sends the commands of the channel, at most one of each kind a
/// clock. The data do not come by here: `read_o` and `write_o` tell when they are due.
module pim_channel #(
  parameter pim_blocks_pkg::geometry_t Geometry = '0,
  parameter pim_pkg::timing_t Timing = '0
) (
  input  wire logic                           clk_i,
  input  wire logic                           rst_ni,

  input  wire pim_blocks_pkg::control_t       control_i,
  output logic                                asleep_o,
  /// Counters: totals, and those of the descriptor when captured.
  output logic      [pim_isa_pkg::Counters-1:0][63:0] totals_o,
  output logic      [pim_isa_pkg::Counters-1:0][31:0] captured_o,
  output logic      [63:0]                    captured_cycles_o,

  input  wire pim_blocks_pkg::engine_state_t  engine_i,
  input  wire pim_pkg::span_t                 span_i,
  output      pim_blocks_pkg::channel_state_t state_o,
  /// Data time of a read; two clocks before the data time of a write.
  output      pim_pkg::access_t               read_o,
  output      pim_pkg::access_t               write_o,

  /// Commands of this clock.
  output      pim_blocks_pkg::command_t       row_command_o,
  output      pim_blocks_pkg::command_t       col_command_o
);

  localparam int unsigned Banks = Geometry.banks;
  localparam int unsigned Rows = Geometry.rows;
  localparam int unsigned CkRatio = Geometry.ck_ratio;
  localparam int unsigned BeatElems = Geometry.beat_bytes / 2;
  localparam int unsigned LaneSpacing =
      CkRatio * ((BeatElems + Geometry.lanes - 1) / Geometry.lanes);

  pim_pkg::dram_cmd_e row_cmd, col_cmd;
  logic row_all, col_all;
  logic [$clog2(Banks)-1:0] row_bank, col_bank;
  logic [$clog2(Rows)-1:0] row_row, col_row;
  logic [$clog2(Geometry.row_bytes/Geometry.atom_bytes)-1:0] col_column;
  logic [$clog2(CkRatio)-1:0] row_slot, col_slot;
  logic [Banks-1:0] open;

  assign row_command_o = '{
      cmd: row_cmd, all: row_all, bank: 8'(row_bank), row: 25'(row_row), column: '0,
      slot: 4'(row_slot)};
  assign col_command_o = '{
      cmd: col_cmd, all: col_all, bank: 8'(col_bank), row: 25'(col_row), column: 25'(col_column),
      slot: 4'(col_slot)};

  pim_sched #(
    .AllBank(Geometry.all_bank),
    .Banks(Banks),
    .BankGroups(Geometry.bank_groups),
    .RowBytes(Geometry.row_bytes),
    .Rows(Rows),
    .AtomBytes(Geometry.atom_bytes),
    .CkRatio(CkRatio),
    .LaneSpacing(LaneSpacing),
    .RowsPerBeat(Geometry.rows_per_beat),
    .LaneSets((Geometry.lanes + BeatElems - 1) / BeatElems),
    .LaneLatency(Geometry.lane_latency),
    .Timing(Timing)
  ) u_sched (
    .clk_i,
    .rst_ni,
    .wake_i(control_i.wake),
    .sleep_i(control_i.sleep),
    .asleep_o,
    .flush_i(engine_i.flush),
    .valid_i(engine_i.span_valid),
    .ready_o(state_o.span_ready),
    .span_i,
    .idle_o(state_o.idle),
    .copy_out_room_i(engine_i.copy_out_room),
    .copy_in_ready_i(engine_i.copy_in_ready),
    .lanes_busy_i(engine_i.lanes_busy),
    .copy_issue_o(state_o.copy_issue),
    .read_o,
    .write_o,
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

  pim_counters #(
    .Banks(Banks),
    .CkRatio(CkRatio)
  ) u_counters (
    .clk_i,
    .rst_ni,
    .busy_i(control_i.busy),
    .clear_i(control_i.count_clear),
    .col_cmd_i(col_cmd),
    .row_cmd_i(row_cmd),
    .col_all_i(col_all),
    .row_all_i(row_all),
    .row_slot_i(row_slot),
    .open_i(open),
    .asleep_i(asleep_o),
    .mac_i(engine_i.mac),
    .stall_i(control_i.stall),
    .rd_beat_i(control_i.rd_beat),
    .wr_beat_i(control_i.wr_beat),
    .wr_status_i(control_i.wr_status),
    .capture_i(control_i.count_capture),
    .total_o(totals_o),
    .captured_o,
    .captured_cycles_o
  );

`ifndef SYNTHESIS
  pim_timing_check #(
    .Banks(Banks),
    .BankGroups(Geometry.bank_groups),
    .Rows(Rows),
    .CkRatio(CkRatio),
    .Timing(Timing)
  ) u_timing_check (
    .clk_i,
    .rst_ni,
    .wake_i(control_i.wake),
    .asleep_i(asleep_o),
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
`endif

endmodule

`default_nettype wire
