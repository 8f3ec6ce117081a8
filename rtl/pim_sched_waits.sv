`default_nettype none

/// DRAM clocks that the two accesses in question still have to wait for their banks and groups.
///
/// The head is the access whose column command is next; the other one has its row prepared ahead.
/// For each, what `pim_sched_banks` knows of its bank and group is looked up once and then counted
/// down here, with what the commands of every clock add. So the choice of the next commands looks
/// at a few small registers: no bank is searched and no time compared in its clock.
module pim_sched_waits #(
  parameter bit AllBank = 1'b0,
  parameter int unsigned Banks = 16,
  parameter int unsigned BankGroups = 4,
  parameter int unsigned Rows = 4096,
  parameter int unsigned CkRatio = 4,
  parameter int unsigned WaitBits = 10,
  /// Accesses that are looked up at once.
  parameter int unsigned Looks = 1,
  parameter pim_pkg::timing_t Timing = '0
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  input  wire logic              wake_i,
  /// The commands of this clock.
  input  wire logic              col_go_i,
  input  wire logic              col_write_i,
  input  wire logic              col_all_i,
  input  wire logic [$clog2(CkRatio)-1:0] col_slot_i,
  /// Wait of PRE after the column command of this clock.
  input  wire logic [WaitBits:0] col_pre_i,
  input  wire pim_pkg::dram_cmd_e row_cmd_i,
  input  wire logic              row_all_i,
  /// It is for the other access, else for the head, if not for all; its first slot, or one later.
  input  wire logic              row_ahead_i,
  input  wire logic [$clog2(CkRatio)-1:0] row_first_i,
  input  wire logic              row_late_i,
  /// What the head is in this clock.
  input  wire logic [$clog2(Banks)-1:0] head_bank_i,
  input  wire logic [$clog2(Rows)-1:0] head_row_i,
  input  wire logic              head_all_i,
  input  wire logic              head_write_i,
  /// The same of the other access.
  input  wire logic [$clog2(Banks)-1:0] ahead_bank_i,
  input  wire logic [$clog2(Rows)-1:0] ahead_row_i,
  input  wire logic              ahead_write_i,
  /// In the next clock the head is the other access, or else the one that is looked up first.
  input  wire logic              promote_i,
  input  wire logic              load_head_i,
  /// In the next clock the other access is the one that is looked up last.
  input  wire logic              load_ahead_i,
  /// What is looked up, and what `pim_sched_banks` says of it.
  input  wire logic [Looks-1:0][$clog2(Banks)-1:0] look_bank_i,
  input  wire logic [Looks-1:0][$clog2(Rows)-1:0] look_row_i,
  input  wire logic [Looks-1:0]  look_all_i,
  input  wire logic [Looks-1:0]  look_write_i,
  input  wire logic [Looks-1:0]  look_open_i,
  input  wire logic [Looks-1:0]  look_hit_i,
  input  wire logic [Looks-1:0][WaitBits:0] look_col_i,
  input  wire logic [Looks-1:0][WaitBits:0] look_act_i,
  input  wire logic [Looks-1:0][WaitBits:0] look_pre_i,
  /// The access finds its row; its bank is open.
  output logic                   head_hit_o,
  output logic                   head_open_o,
  output logic                   ahead_hit_o,
  output logic                   ahead_open_o,
  /// What is left of the waits for ACT and PRE of all banks in the next clock.
  input  wire logic [WaitBits:0] act_last_i,
  input  wire logic [WaitBits:0] pre_last_i,
  /// The head's column command, ACT and PRE of either: in the upper bit whether the rules of banks
  /// and groups allow it in this clock, below it the first slot.
  output logic [$clog2(CkRatio):0] col_due_o,
  output logic [$clog2(CkRatio):0] head_act_due_o,
  output logic [$clog2(CkRatio):0] head_pre_due_o,
  output logic [$clog2(CkRatio):0] ahead_act_due_o,
  output logic [$clog2(CkRatio):0] ahead_pre_due_o
);

  localparam int unsigned BankBits = $clog2(Banks);
  localparam int unsigned GroupBits = $clog2(BankGroups);
  localparam int unsigned RowBits = $clog2(Rows);
  localparam int unsigned SlotBits = $clog2(CkRatio);
  // DRAM clocks, and whether they reach beyond this clock: known a clock ahead, without a sum.
  typedef struct packed {
    logic beyond;
    logic [WaitBits-1:0] clocks;
  } wait_t;

  function automatic wait_t wait_of(int unsigned clocks);
    return '{beyond: clocks >= CkRatio, clocks: WaitBits'(clocks)};
  endfunction

  typedef struct packed {
    logic open;
    logic hit;
    wait_t col;
    wait_t act;
    wait_t pre;
  } access_wait_t;

  // Waits in the next clock until some clocks after a command, for each slot it can have gone out in.
  typedef wait_t [CkRatio-1:0] after_t;

  function automatic after_t after(int unsigned clocks);
    for (int unsigned slot = 0; slot < CkRatio; slot++) begin
      after[slot] = wait_of(slot + clocks > CkRatio ? slot + clocks - CkRatio : 0);
    end
  endfunction

  localparam int unsigned WriteEnd = 32'(Timing.cwl) + 32'(Timing.bl);
  localparam after_t RcdRd = after(32'(Timing.rcd_rd));
  localparam after_t RcdWr = after(32'(Timing.rcd_wr));
  localparam after_t Rp = after(32'(Timing.rp));
  localparam after_t Ras = after(32'(Timing.ras));
  localparam after_t CcdL = after(32'(Timing.ccd_l));
  localparam after_t RrdL = after(32'(Timing.rrd_l));
  // To the same bank, which is in the same group.
  localparam after_t ActToAct = after(pim_pkg::most(32'(Timing.rc), 32'(Timing.rrd_l)));
  localparam after_t WriteToReadL = after(WriteEnd + 32'(Timing.wtr_l));

  access_wait_t head_q, ahead_q;

  function automatic wait_t longer(wait_t a, wait_t b);
    return '{beyond: a.beyond || b.beyond, clocks: a.clocks > b.clocks ? a.clocks : b.clocks};
  endfunction

  // What is left of a wait in the next clock.
  function automatic wait_t left_of(wait_t now);
    return '{beyond: now.clocks[WaitBits-1:SlotBits+1] != '0,
             clocks: now.beyond ? now.clocks - WaitBits'(CkRatio) : '0};
  endfunction

  function automatic access_wait_t all_left_of(access_wait_t now);
    return '{open: now.open, hit: now.hit, col: left_of(now.col), act: left_of(now.act),
             pre: left_of(now.pre)};
  endfunction

  // Whether a wait ends in this clock, and its slot.
  function automatic logic [SlotBits:0] due(wait_t now);
    return {!now.beyond, now.clocks[SlotBits-1:0]};
  endfunction

  function automatic logic same_group(logic [BankBits-1:0] a, logic [BankBits-1:0] b);
    return a[GroupBits-1:0] == b[GroupBits-1:0];
  endfunction

  // ---- an access in the next clock, after the commands of this one --------------------------
  // What is looked at of a command's bank. Compared where a command is there: a simulation need not
  // do it in other clocks.
  typedef struct packed {
    logic [BankBits-1:0] bank;
    logic [RowBits-1:0] row;
  } place_t;

  place_t head, ahead;
  assign head = '{bank: head_bank_i, row: head_row_i};
  assign ahead = '{bank: ahead_bank_i, row: ahead_row_i};

  logic [SlotBits-1:0] row_second;  // the slot after the first
  assign row_second = row_first_i + 1'b1;

  // Waits after the row command: what its lateness changes is chosen last.
  function automatic wait_t row_after(after_t waits);
    return row_late_i ? waits[row_second] : waits[row_first_i];
  endfunction

  function automatic wait_t row_longer(wait_t left, after_t waits);
    return row_late_i ? longer(left, waits[row_second]) : longer(left, waits[row_first_i]);
  endfunction

  // A wait for column commands after those of this clock, `term` from the column command. What is
  // looked up comes last: it meets the longest of all else.
  function automatic wait_t col_longer(wait_t left, wait_t term, after_t waits);
    return row_late_i ? longer(left, longer(term, waits[row_second]))
                      : longer(left, longer(term, waits[row_first_i]));
  endfunction

  // `left`: what is left of its waits in the next clock but for these commands. Of per_bank style: the
  // waits for ACT and PRE of a bank that is opened now have ended.
  function automatic access_wait_t next_of(
      access_wait_t left, place_t here, logic all, logic write);
    logic row_here, open, hit;
    wait_t term, col, act, pre;
    place_t row;
    open = left.open;
    hit = left.hit;
    col = left.col;
    act = left.act;
    pre = left.pre;
    term = '0;  // from the column command
    if (col_go_i) begin
      if ((AllBank && (all || col_all_i)) || same_group(here.bank, head.bank)) begin
        if (write == col_write_i) term = CcdL[col_slot_i];
        else if (!write) term = WriteToReadL[col_slot_i];
        col = longer(left.col, term);
      end
      if ((AllBank && (all || col_all_i)) || here.bank == head.bank) pre = longer(left.pre, col_pre_i);
    end
    if (row_cmd_i != pim_pkg::CmdNop) begin
      row = row_ahead_i ? ahead : head;
      row_here = (AllBank && (all || row_all_i)) || here.bank == row.bank;
      unique case (row_cmd_i)
        pim_pkg::CmdAct: begin
          if (row_here || (AllBank && row_all_i) || same_group(here.bank, row.bank)) begin
            act = !row_here ? row_longer(left.act, RrdL)
                  : AllBank ? row_longer(left.act, ActToAct) : row_after(ActToAct);
          end
          if (row_here) begin
            col = col_longer(left.col, term, write ? RcdWr : RcdRd);
            pre = AllBank ? row_longer(pre, Ras) : row_after(Ras);
            open = 1'b1;
            hit = (row_all_i || !all) && here.row == row.row;
          end
        end
        pim_pkg::CmdPre: begin
          if (row_here || row_all_i) begin
            act = row_longer(left.act, Rp);
            open = 1'b0;
            hit = 1'b0;
          end
        end
        pim_pkg::CmdRef: begin
          open = 1'b0;
          hit = 1'b0;
          col = '0;
          act = '0;
          pre = '0;
        end
        default: ;
      endcase
    end
    return '{open: open, hit: hit, col: col, act: act, pre: pre};
  endfunction

  // What is looked up, with the rules for all banks when it goes to all.
  function automatic access_wait_t looked_up(int unsigned l);
    wait_t act, pre;
    act = look_act_i[l];
    pre = look_pre_i[l];
    if (AllBank && look_all_i[l]) begin
      act = longer(look_act_i[l], act_last_i);
      pre = pre_last_i;
    end
    return '{open: look_open_i[l], hit: look_hit_i[l], col: look_col_i[l], act: act, pre: pre};
  endfunction

  function automatic place_t look_place(int unsigned l);
    return '{bank: look_bank_i[l], row: look_row_i[l]};
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni || wake_i) begin
      head_q <= '0;
      ahead_q <= '0;
    end else begin
      if (load_head_i) head_q <= next_of(looked_up(0), look_place(0), look_all_i[0], look_write_i[0]);
      else if (promote_i) head_q <= next_of(all_left_of(ahead_q), ahead, 1'b0, ahead_write_i);
      else head_q <= next_of(all_left_of(head_q), head, head_all_i, head_write_i);
      if (load_ahead_i) begin
        ahead_q <= next_of(looked_up(Looks - 1), look_place(Looks - 1), look_all_i[Looks-1],
                           look_write_i[Looks-1]);
      end else if (!AllBank) begin
        ahead_q <= next_of(all_left_of(ahead_q), ahead, 1'b0, ahead_write_i);
      end
    end
  end

  assign head_hit_o = head_q.hit;
  assign head_open_o = head_q.open;
  assign ahead_hit_o = ahead_q.hit;
  assign ahead_open_o = ahead_q.open;
  assign col_due_o = due(head_q.col);
  assign head_act_due_o = due(head_q.act);
  assign head_pre_due_o = due(head_q.pre);
  assign ahead_act_due_o = due(ahead_q.act);
  assign ahead_pre_due_o = due(ahead_q.pre);

endmodule

`default_nettype wire
