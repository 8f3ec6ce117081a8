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
  input  wire logic [$clog2(Banks)-1:0] col_bank_i,
  input  wire logic [$clog2(CkRatio)-1:0] col_slot_i,
  input  wire pim_pkg::dram_cmd_e row_cmd_i,
  input  wire logic              row_all_i,
  input  wire logic [$clog2(Banks)-1:0] row_bank_i,
  input  wire logic [$clog2(Rows)-1:0] row_row_i,
  input  wire logic [$clog2(CkRatio)-1:0] row_slot_i,
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
  localparam after_t ReadToPre = after(32'(Timing.rtp));
  localparam after_t WriteToPre = after(WriteEnd + 32'(Timing.wr));
  localparam after_t WriteToReadL = after(WriteEnd + 32'(Timing.wtr_l));

  access_wait_t head_q, ahead_q;

  function automatic wait_t longer(wait_t a, wait_t b);
    longer.clocks = a.clocks > b.clocks ? a.clocks : b.clocks;
    longer.beyond = a.beyond || b.beyond;
  endfunction

  function automatic wait_t longest(wait_t a, wait_t b, wait_t c);
    longest.clocks = a.clocks >= b.clocks && a.clocks >= c.clocks ? a.clocks
                     : b.clocks > c.clocks ? b.clocks : c.clocks;
    longest.beyond = a.beyond || b.beyond || c.beyond;
  endfunction

  // What is left of a wait in the next clock.
  function automatic wait_t left_of(wait_t now);
    left_of.clocks = now.beyond ? now.clocks - WaitBits'(CkRatio) : '0;
    left_of.beyond = now.clocks[WaitBits-1:SlotBits+1] != '0;
  endfunction

  function automatic access_wait_t all_left_of(access_wait_t now);
    all_left_of = now;
    all_left_of.col = left_of(now.col);
    all_left_of.act = left_of(now.act);
    all_left_of.pre = left_of(now.pre);
  endfunction

  // Whether a wait ends in this clock, and its slot.
  function automatic logic [SlotBits:0] due(wait_t now);
    return {!now.beyond, now.clocks[SlotBits-1:0]};
  endfunction

  function automatic logic same_group(logic [BankBits-1:0] a, logic [BankBits-1:0] b);
    return a[GroupBits-1:0] == b[GroupBits-1:0];
  endfunction

  wait_t col_pre;  // of PRE, after the column command of this clock
  assign col_pre = col_write_i ? WriteToPre[col_slot_i] : ReadToPre[col_slot_i];

  // ---- an access in the next clock, after the commands of this one --------------------------
  // What a column command adds to the wait of another.
  function automatic wait_t col_after(logic near, logic write);
    if (!col_go_i || !near) return '0;
    if (write == col_write_i) return CcdL[col_slot_i];
    return write ? '0 : WriteToReadL[col_slot_i];
  endfunction

  // `left`: what is left of its waits in the next clock but for these commands.
  function automatic access_wait_t next_of(
      access_wait_t left, logic [BankBits-1:0] bank, logic [RowBits-1:0] row, logic all,
      logic write);
    logic col_here, col_near, row_here, row_near, act_here;
    wait_t pre_after;
    col_here = (AllBank && (all || col_all_i)) || bank == col_bank_i;
    col_near = (AllBank && (all || col_all_i)) || same_group(bank, col_bank_i);
    row_here = (AllBank && (all || row_all_i)) || bank == row_bank_i;
    row_near = (AllBank && row_all_i) || same_group(bank, row_bank_i);
    act_here = row_cmd_i == pim_pkg::CmdAct && row_here;
    next_of = left;
    pre_after = col_go_i && col_here ? col_pre : '0;
    next_of.col = longest(left.col, col_after(col_near, write),
                          act_here ? (write ? RcdWr[row_slot_i] : RcdRd[row_slot_i]) : '0);
    next_of.pre = longest(left.pre, pre_after, act_here ? Ras[row_slot_i] : '0);
    unique case (row_cmd_i)
      pim_pkg::CmdAct: begin
        if (row_here || row_near) begin
          next_of.act = longer(left.act, row_here ? ActToAct[row_slot_i] : RrdL[row_slot_i]);
        end
        if (row_here) begin
          next_of.open = 1'b1;
          next_of.hit = (row_all_i || !all) && row == row_row_i;
        end
      end
      pim_pkg::CmdPre: begin
        if (row_here || row_all_i) begin
          next_of.act = longer(left.act, Rp[row_slot_i]);
          next_of.open = 1'b0;
          next_of.hit = 1'b0;
        end
      end
      pim_pkg::CmdRef: next_of = '0;
      default: ;
    endcase
  endfunction

  // What is looked up, with the rules for all banks when it goes to all.
  function automatic access_wait_t looked_up(int unsigned l);
    looked_up.open = look_open_i[l];
    looked_up.hit = look_hit_i[l];
    looked_up.col = look_col_i[l];
    looked_up.act = look_act_i[l];
    looked_up.pre = look_pre_i[l];
    if (AllBank && look_all_i[l]) begin
      looked_up.act = longer(look_act_i[l], act_last_i);
      looked_up.pre = pre_last_i;
    end
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni || wake_i) begin
      head_q <= '0;
      ahead_q <= '0;
    end else begin
      if (load_head_i) begin
        head_q <= next_of(looked_up(0), look_bank_i[0], look_row_i[0], look_all_i[0],
                          look_write_i[0]);
      end else if (promote_i) begin
        head_q <= next_of(all_left_of(ahead_q), ahead_bank_i, ahead_row_i, 1'b0,
                           ahead_write_i);
      end else begin
        head_q <= next_of(all_left_of(head_q), head_bank_i, head_row_i, head_all_i,
                          head_write_i);
      end
      if (load_ahead_i) begin
        ahead_q <= next_of(looked_up(Looks - 1), look_bank_i[Looks-1], look_row_i[Looks-1],
                           look_all_i[Looks-1], look_write_i[Looks-1]);
      end else if (!AllBank) begin
        ahead_q <= next_of(all_left_of(ahead_q), ahead_bank_i, ahead_row_i, 1'b0,
                           ahead_write_i);
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
