/// pim_counters whose totals a bench can set: counting up to where the upper halves move takes
/// longer than anyone waits.
module pim_counters_bench #(
  parameter int unsigned Banks = 8,
  parameter int unsigned CkRatio = 4
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  /// At its rising edge, away from the clock's, the totals become `load_total_i`.
  input  logic               load_i,
  input  logic [pim_isa_pkg::Counters-1:0][63:0] load_total_i,
  input  logic               busy_i,
  input  logic               clear_i,
  input  pim_pkg::dram_cmd_e col_cmd_i,
  input  pim_pkg::dram_cmd_e row_cmd_i,
  input  logic               col_all_i,
  input  logic               row_all_i,
  input  logic [$clog2(CkRatio)-1:0] row_slot_i,
  input  logic [Banks-1:0]   open_i,
  input  logic               asleep_i,
  input  logic [3:0]         mac_i,
  input  logic               stall_i,
  input  logic               rd_beat_i,
  input  logic               wr_beat_i,
  input  logic               wr_status_i,
  input  logic               capture_i,
  output logic [pim_isa_pkg::Counters-1:0][63:0] total_o,
  output logic [pim_isa_pkg::Counters-1:0][31:0] captured_o,
  output logic [63:0]        captured_cycles_o
);

  pim_counters #(
    .Banks(Banks),
    .CkRatio(CkRatio)
  ) u_dut (
    .clk_i,
    .rst_ni,
    .busy_i,
    .clear_i,
    .col_cmd_i,
    .row_cmd_i,
    .col_all_i,
    .row_all_i,
    .row_slot_i,
    .open_i,
    .asleep_i,
    .mac_i,
    .stall_i,
    .rd_beat_i,
    .wr_beat_i,
    .wr_status_i,
    .capture_i,
    .total_o,
    .captured_o,
    .captured_cycles_o
  );

  always @(posedge load_i) begin
    {u_dut.act_step_q, u_dut.pre_step_q} = '0;
    {u_dut.rd_step_q, u_dut.wr_step_q, u_dut.ref_step_q} = '0;
    {u_dut.open_step_q, u_dut.all_rd_step_q, u_dut.all_wr_step_q} = '0;
    u_dut.link_step_q = '0;
    u_dut.cycles_q = load_total_i[pim_isa_pkg::CounterCycles];
    u_dut.act_q = load_total_i[pim_isa_pkg::CounterAct];
    u_dut.pre_q = load_total_i[pim_isa_pkg::CounterPre];
    u_dut.rd_q = load_total_i[pim_isa_pkg::CounterRd];
    u_dut.wr_q = load_total_i[pim_isa_pkg::CounterWr];
    u_dut.ref_q = load_total_i[pim_isa_pkg::CounterRef];
    u_dut.mac_q = load_total_i[pim_isa_pkg::CounterMac];
    u_dut.stall_q = load_total_i[pim_isa_pkg::CounterStall];
    u_dut.open_q = load_total_i[pim_isa_pkg::CounterOpen];
    u_dut.self_refresh_q = load_total_i[pim_isa_pkg::CounterSelfRefresh];
    u_dut.all_rd_q = load_total_i[pim_isa_pkg::CounterAllRd];
    u_dut.all_wr_q = load_total_i[pim_isa_pkg::CounterAllWr];
    u_dut.link_q = load_total_i[pim_isa_pkg::CounterLink];
  end

endmodule
