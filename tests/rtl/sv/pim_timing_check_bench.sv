/// pim_timing_check that looks away until the first reset, for test_pim_timing_check.
///
/// A bench starts with random inputs, the clock's first level included, so there may be an edge
/// with random commands before the bench can drive anything.
module pim_timing_check_bench #(
  parameter int unsigned Banks = 8,
  parameter int unsigned BankGroups = 4,
  parameter int unsigned Rows = 16,
  parameter int unsigned CkRatio = 4,
  parameter pim_pkg::timing_t Timing = '0
) (
  input logic                         clk_i,
  input logic                         rst_ni,
  input logic                         wake_i,
  input logic                         asleep_i,
  input logic [2:0]                   col_cmd_i,
  input logic [2:0]                   row_cmd_i,
  input logic                         col_all_i,
  input logic                         row_all_i,
  input logic [$clog2(Banks)-1:0]     col_bank_i,
  input logic [$clog2(Banks)-1:0]     row_bank_i,
  input logic [$clog2(CkRatio)-1:0]   col_slot_i,
  input logic [$clog2(CkRatio)-1:0]   row_slot_i,
  input logic [$clog2(Rows)-1:0]      row_row_i,
  input logic [$clog2(Rows)-1:0]      col_row_i
);

  logic reset_seen;
  initial reset_seen = 1'b0;
  always_ff @(posedge clk_i) if (!rst_ni) reset_seen <= 1'b1;

  pim_timing_check #(
    .Banks(Banks),
    .BankGroups(BankGroups),
    .Rows(Rows),
    .CkRatio(CkRatio),
    .Timing(Timing)
  ) u_check (
    .clk_i,
    .rst_ni(rst_ni && reset_seen),
    .wake_i,
    .asleep_i,
    .col_cmd_i(pim_pkg::dram_cmd_e'(col_cmd_i)),
    .row_cmd_i(pim_pkg::dram_cmd_e'(row_cmd_i)),
    .col_all_i,
    .row_all_i,
    .col_bank_i,
    .row_bank_i,
    .col_slot_i,
    .row_slot_i,
    .row_row_i,
    .col_row_i
  );

endmodule
