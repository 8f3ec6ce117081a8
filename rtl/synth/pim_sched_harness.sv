`default_nettype none

/// The scheduler between registers on all its ports, for its clock by itself.
///
/// Spans come from `pim_spans`, as in the device, whose logic is in front of the scheduler's.
module pim_sched_harness #(
  parameter bit AllBank = 1'b0,
  parameter int unsigned Banks = 16,
  parameter int unsigned BankGroups = 4,
  parameter int unsigned RowBytes = 8192,
  parameter int unsigned Rows = 4096,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned CkRatio = 4
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  input  wire logic [6:0]        control_i,
  input  wire logic              valid_i,
  input  wire pim_pkg::stream_t  stream_i,
  output logic                   ready_o,
  output logic [3:0]             state_o,
  output      pim_pkg::access_t  read_o,
  output      pim_pkg::access_t  write_o,
  output logic [63:0]            command_o,
  output logic [Banks-1:0]       open_o
);

  // DDR4-2400, the defaults of pim_top.
  localparam pim_pkg::timing_t Timing = '{
      rcd_rd: 16'd17, rcd_wr: 16'd17, rp: 16'd17, ras: 16'd39, rc: 16'd56, ccd_s: 16'd4, ccd_l: 16'd6,
      rrd_s: 16'd4, rrd_l: 16'd6, faw: 16'd26, wr: 16'd18, rtp: 16'd9, wtr_s: 16'd3, wtr_l: 16'd9,
      refi: 16'd9360, rfc: 16'd420, xs: 16'd432, xsdll: 16'd768, cl: 16'd17, cwl: 16'd12, bl: 16'd4};
  localparam int unsigned BeatBytes = AllBank ? Banks * AtomBytes : AtomBytes;
  localparam int unsigned PageBytes = AllBank ? Banks * RowBytes : RowBytes;

  logic rst_nq, stream_valid_q, stream_ready, span_valid, span_ready, ready_q;
  logic [6:0] control_q;
  pim_pkg::stream_t stream_q;
  pim_pkg::span_t span;
  pim_pkg::access_t read, write;
  pim_pkg::dram_cmd_e col_cmd, row_cmd;
  logic idle, asleep, copy_issue, col_all, row_all;
  logic [$clog2(Banks)-1:0] col_bank, row_bank;
  logic [$clog2(CkRatio)-1:0] col_slot, row_slot;
  logic [$clog2(Rows)-1:0] row_row, col_row;
  logic [$clog2(RowBytes / AtomBytes)-1:0] col_column;
  logic [Banks-1:0] open;

  pim_spans #(
    .PageBytes(PageBytes), .AtomBytes(AtomBytes), .BeatBytes(BeatBytes)
  ) u_spans (
    .clk_i, .rst_ni(rst_nq), .flush_i(control_q[2]), .valid_i(stream_valid_q),
    .ready_o(stream_ready), .stream_i(stream_q), .valid_o(span_valid), .ready_i(span_ready),
    .span_o(span)
  );

  pim_sched #(
    .AllBank(AllBank), .Banks(Banks), .BankGroups(BankGroups), .RowBytes(RowBytes), .Rows(Rows),
    .AtomBytes(AtomBytes), .CkRatio(CkRatio), .LaneSpacing(CkRatio), .LaneLatency(4),
    .Timing(Timing)
  ) u_sched (
    .clk_i, .rst_ni(rst_nq), .wake_i(control_q[0]), .sleep_i(control_q[1]), .asleep_o(asleep),
    .flush_i(control_q[2]), .valid_i(span_valid), .ready_o(span_ready), .span_i(span),
    .idle_o(idle), .copy_out_room_i(control_q[3]), .copy_in_ready_i(control_q[4]),
    .lanes_busy_i(control_q[5]), .copy_issue_o(copy_issue), .read_o(read), .write_o(write),
    .col_cmd_o(col_cmd), .row_cmd_o(row_cmd), .col_all_o(col_all), .row_all_o(row_all),
    .col_bank_o(col_bank), .row_bank_o(row_bank), .col_slot_o(col_slot), .row_slot_o(row_slot),
    .row_row_o(row_row), .col_row_o(col_row), .col_column_o(col_column), .open_o(open)
  );

  assign ready_o = ready_q;

  always_ff @(posedge clk_i) begin
    rst_nq <= rst_ni;
    control_q <= control_i;
    ready_q <= stream_ready;
    if (stream_ready || !stream_valid_q) begin
      stream_valid_q <= valid_i;
      stream_q <= stream_i;
    end
    state_o <= {idle, asleep, copy_issue, control_q[6]};
    read_o <= read;
    write_o <= write;
    command_o <= 64'({col_cmd, row_cmd, col_all, row_all, col_bank, row_bank, col_slot, row_slot,
                      row_row, col_row, col_column});
    open_o <= open;
  end

endmodule

`default_nettype wire
