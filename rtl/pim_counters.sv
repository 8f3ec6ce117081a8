/// Event counters: totals since reset (64 bits) and those of the current descriptor (32 bits).
///
/// Commands are counted as the scheduler sends them; times are in DRAM clocks.
module pim_counters #(
  parameter int unsigned Banks = 16,
  /// DRAM clocks in a fabric clock.
  parameter int unsigned CkRatio = 4
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  /// A list is running.
  input  logic               busy_i,
  /// Start the counters of a descriptor anew.
  input  logic               clear_i,
  input  pim_pkg::dram_cmd_e col_cmd_i,
  input  pim_pkg::dram_cmd_e row_cmd_i,
  input  logic               row_all_i,
  /// Banks open before this clock's commands.
  input  logic [Banks-1:0]   open_i,
  input  logic               mac_i,
  input  logic               stall_i,
  /// Totals: cycles, act, pre, rd, wr, ref, mac, stall.
  output logic [7:0][63:0]   total_o,
  /// The same of the current descriptor.
  output logic [7:0][31:0]   current_o,
  /// Cycles of the current descriptor in full.
  output logic [63:0]        current_cycles_o
);

  localparam int unsigned StepBits = $clog2(Banks + 1);

  logic [63:0] start_q;
  logic [7:1][31:0] base_q;
  logic act, pre, rd, wr, refresh;
  logic [StepBits-1:0] act_step, pre_step;

  assign act = row_cmd_i == pim_pkg::CmdAct;
  assign pre = row_cmd_i == pim_pkg::CmdPre;
  assign refresh = row_cmd_i == pim_pkg::CmdRef;
  assign rd = col_cmd_i == pim_pkg::CmdRd;
  assign wr = col_cmd_i == pim_pkg::CmdWr;
  assign act_step = row_all_i ? StepBits'(Banks) : StepBits'(1);
  assign pre_step = row_all_i ? StepBits'($countones(open_i)) : StepBits'(1);
  assign current_cycles_o = total_o[0] - start_q;

  always_comb begin
    current_o[0] = current_cycles_o[31:0];
    for (int unsigned i = 1; i < 8; i++) current_o[i] = total_o[i][31:0] - base_q[i];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      total_o <= '0;
      base_q <= '0;
      start_q <= '0;
    end else begin
      if (busy_i) total_o[0] <= total_o[0] + 64'(CkRatio);
      if (act) total_o[1] <= total_o[1] + 64'(act_step);
      if (pre) total_o[2] <= total_o[2] + 64'(pre_step);
      if (rd) total_o[3] <= total_o[3] + 64'd1;
      if (wr) total_o[4] <= total_o[4] + 64'd1;
      if (refresh) total_o[5] <= total_o[5] + 64'd1;
      if (mac_i) total_o[6] <= total_o[6] + 64'd1;
      if (busy_i && stall_i) total_o[7] <= total_o[7] + 64'(CkRatio);
      if (clear_i) begin
        start_q <= total_o[0];
        for (int unsigned i = 1; i < 8; i++) base_q[i] <= total_o[i][31:0];
      end
    end
  end

endmodule
