`default_nettype none

/// Chooses the commands of a clock: at most one column and one row command, combinational.
///
/// `due` vectors say in the upper bit whether the timing allows the command in this clock, below it
/// in which slot first. Columns go strictly in order. The row command is, in this order: of a refresh
/// or before sleep; of the access in front; of the other access, whose row is prepared ahead. Only that
/// one can meet a column command in its slot, and then goes one slot later. That is the last that is
/// known in a clock: whatever depends on the slot of a row command is worked out for both, and chosen.
module pim_sched_choice #(
  parameter bit AllBank = 1'b0,
  parameter int unsigned Banks = 16,
  parameter int unsigned Rows = 4096,
  parameter int unsigned CkRatio = 4
) (
  input  wire logic              awake_i,
  input  wire logic              sleep_i,
  /// A refresh is due; some bank is open.
  input  wire logic              owed_i,
  input  wire logic              any_open_i,
  /// The access in front may go but for the memory; it is for every bank.
  input  wire logic              head_valid_i,
  input  wire logic              head_ready_i,
  input  wire logic              head_all_i,
  input  wire logic              head_write_i,
  input  wire logic [$clog2(Banks)-1:0] head_bank_i,
  input  wire logic [$clog2(Rows)-1:0] head_row_i,
  input  wire logic              head_hit_i,
  input  wire logic              head_open_i,
  /// There is another access, whose row may be prepared.
  input  wire logic              ahead_valid_i,
  input  wire logic [$clog2(Banks)-1:0] ahead_bank_i,
  input  wire logic [$clog2(Rows)-1:0] ahead_row_i,
  input  wire logic              ahead_hit_i,
  input  wire logic              ahead_open_i,
  /// By the rules of banks and groups, and of the channel.
  input  wire logic [$clog2(CkRatio):0] col_due_i,
  input  wire logic [$clog2(CkRatio):0] head_act_due_i,
  input  wire logic [$clog2(CkRatio):0] head_pre_due_i,
  input  wire logic [$clog2(CkRatio):0] ahead_act_due_i,
  input  wire logic [$clog2(CkRatio):0] ahead_pre_due_i,
  input  wire logic [$clog2(CkRatio):0] read_due_i,
  input  wire logic [$clog2(CkRatio):0] write_due_i,
  input  wire logic [$clog2(CkRatio):0] any_act_due_i,
  input  wire logic [$clog2(CkRatio):0] act_last_due_i,
  input  wire logic [$clog2(CkRatio):0] pre_last_due_i,
  /// The commands.
  output logic                   col_go_o,
  output logic [$clog2(CkRatio)-1:0] col_slot_o,
  output      pim_pkg::dram_cmd_e row_cmd_o,
  output logic                   row_all_o,
  output logic [$clog2(Banks)-1:0] row_bank_o,
  output logic [$clog2(Rows)-1:0] row_row_o,
  output logic [$clog2(CkRatio)-1:0] row_slot_o,
  /// The row command is of the other access; its first slot, and whether it goes one later.
  output logic                   row_ahead_o,
  output logic [$clog2(CkRatio)-1:0] row_first_o,
  output logic                   row_late_o
);

  localparam int unsigned SlotBits = $clog2(CkRatio);
  typedef logic [SlotBits:0] due_t;

  // When both are due.
  function automatic due_t both(due_t a, due_t b);
    return {a[SlotBits] && b[SlotBits],
            a[SlotBits-1:0] > b[SlotBits-1:0] ? a[SlotBits-1:0] : b[SlotBits-1:0]};
  endfunction

  due_t col_due, rest_due, head_due, ahead_due, row_due;
  logic rest, head_open, row_wanted, row_open, row_go;
  pim_pkg::dram_cmd_e row_cmd;

  assign rest = owed_i || sleep_i;
  assign col_due = both(col_due_i, head_write_i ? write_due_i : read_due_i);
  assign col_go_o = head_ready_i && head_hit_i && !owed_i && col_due[SlotBits];
  assign col_slot_o = col_due[SlotBits-1:0];

  assign head_open = AllBank && head_all_i ? any_open_i : head_open_i;
  assign rest_due = any_open_i ? pre_last_due_i : act_last_due_i;
  assign head_due = head_open ? head_pre_due_i : both(any_act_due_i, head_act_due_i);
  assign ahead_due = ahead_open_i ? ahead_pre_due_i : both(any_act_due_i, ahead_act_due_i);

  always_comb begin
    row_all_o = 1'b0;
    row_bank_o = head_bank_i;
    row_row_o = head_row_i;
    row_ahead_o = 1'b0;
    if (rest) begin
      row_all_o = 1'b1;
      row_open = any_open_i;
      row_wanted = awake_i && (any_open_i || owed_i);
      row_due = rest_due;
    end else if (head_valid_i && !head_hit_i) begin
      row_all_o = AllBank && head_all_i;
      row_open = head_open;
      row_wanted = 1'b1;
      row_due = head_due;
    end else begin
      row_ahead_o = 1'b1;
      row_bank_o = ahead_bank_i;
      row_row_o = ahead_row_i;
      row_open = ahead_open_i;
      row_wanted = ahead_valid_i && !ahead_hit_i;
      row_due = ahead_due;
    end
    if (row_open) row_cmd = pim_pkg::CmdPre;
    else row_cmd = rest ? pim_pkg::CmdRef : pim_pkg::CmdAct;
  end

  // No column command goes out before a refresh, nor when the access in front needs its row first.
  assign row_late_o = row_ahead_o && col_go_o && ahead_due[SlotBits-1:0] == col_slot_o;
  assign row_first_o = row_due[SlotBits-1:0];
  assign row_slot_o = row_first_o + SlotBits'(row_late_o);
  assign row_go = row_wanted && row_due[SlotBits] &&
                  !(row_late_o && col_slot_o == SlotBits'(CkRatio - 1));
  assign row_cmd_o = row_go ? row_cmd : pim_pkg::CmdNop;

endmodule

`default_nettype wire
