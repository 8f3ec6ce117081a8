`default_nettype none

/// Writes every DRAM command to a text file, for checks that share nothing with this design.
///
/// Simulation only, switched on by `+command_trace=FILE`. A line is `clock command bank row
/// column`, clocks being DRAM clocks since the start of the simulation; `-` where a command has
/// no such operand, `all` for every bank. Besides ACT, PRE, RD, WR and REF: SRE and SRX (entry
/// and exit of self-refresh), RES (reset: what the banks held is undefined).
module pim_command_trace_sim #(
  parameter int unsigned Banks = 16,
  parameter int unsigned Rows = 4096,
  /// Columns of a row.
  parameter int unsigned Columns = 128,
  parameter int unsigned CkRatio = 4
) (
  input wire logic clk_i,
  input wire logic rst_ni,
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
  input wire logic [$clog2(Rows)-1:0] col_row_i,
  input wire logic [$clog2(Columns)-1:0] col_column_i
);

  string path;
  int file;
  logic on;
  longint unsigned clock_q;
  logic reset_q, asleep_q;

  initial begin
    on = $value$plusargs("command_trace=%s", path) != 0;
    clock_q = '0;
    reset_q = 1'b0;
    asleep_q = 1'b1;
    if (on) begin
      file = $fopen(path, "w");
      if (file == 0) $fatal(1, "cannot write the command trace %s", path);
      $fwrite(file, "# pimloop command trace 1: clock command bank row column\n");
    end
  end

  final if (on) $fclose(file);

  function automatic string bank_name(logic all, logic [$clog2(Banks)-1:0] bank);
    return all ? "all" : $sformatf("%0d", bank);
  endfunction

  function automatic void write_column();
    $fwrite(file, "%0d %s %s %0d %0d\n", clock_q + 64'(col_slot_i),
            col_cmd_i == pim_pkg::CmdRd ? "RD" : "WR", bank_name(col_all_i, col_bank_i), col_row_i,
            col_column_i);
  endfunction

  function automatic void write_row();
    longint unsigned clock;
    clock = clock_q + 64'(row_slot_i);
    unique case (row_cmd_i)
      pim_pkg::CmdAct: $fwrite(file, "%0d ACT %s %0d -\n", clock,
                               bank_name(row_all_i, row_bank_i), row_row_i);
      pim_pkg::CmdPre: $fwrite(file, "%0d PRE %s - -\n", clock, bank_name(row_all_i, row_bank_i));
      default: $fwrite(file, "%0d REF all - -\n", clock);
    endcase
  endfunction

  logic is_col, is_row;
  assign is_col = col_cmd_i != pim_pkg::CmdNop;
  assign is_row = row_cmd_i != pim_pkg::CmdNop;

  always_ff @(posedge clk_i) begin
    if (on) begin
      clock_q <= clock_q + 64'(CkRatio);
      reset_q <= !rst_ni;
      asleep_q <= asleep_i || !rst_ni;
      if (!rst_ni) begin
        if (!reset_q) $fwrite(file, "%0d RES all - -\n", clock_q);
      end else begin
        if (asleep_i && !asleep_q) $fwrite(file, "%0d SRE all - -\n", clock_q);
        if (is_col && (!is_row || col_slot_i < row_slot_i)) write_column();
        if (is_row) write_row();
        if (is_col && is_row && col_slot_i >= row_slot_i) write_column();
        // The device counts from the clock after the doorbell.
        if (wake_i) $fwrite(file, "%0d SRX all - -\n", clock_q + 64'(CkRatio));
      end
    end
  end

endmodule

`default_nettype wire
