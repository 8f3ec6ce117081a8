`default_nettype none

/// State of the banks, and the times at which the next command of each kind may go to them.
///
/// Every rule of a bank and of a bank group is kept as the earliest DRAM clock at which the next
/// command of its kind may go: written by a command, counted by nobody. Whoever wants to send
/// commands to a bank looks the times up once, as DRAM clocks from the next clock on, and counts
/// these down (`pim_sched_waits`). A look is combinational and does not see the commands of its
/// clock.
///
/// No clock writes more than one entry of an array, and nothing clears them: they are small memories
/// on an FPGA. In all_bank style what a command to all banks says is kept once beside them, and a bit
/// of each bank tells whether its own entry is later. What an entry says holds while its bank is open,
/// or, of ACT, when it was opened since the last refresh or wake-up.
module pim_sched_banks #(
  parameter bit AllBank = 1'b0,
  parameter int unsigned Banks = 16,
  parameter int unsigned BankGroups = 4,
  parameter int unsigned Rows = 4096,
  parameter int unsigned CkRatio = 4,
  parameter int unsigned StampBits = 16,
  parameter int unsigned WaitBits = 10,
  /// Looks at once.
  parameter int unsigned Looks = 1,
  parameter pim_pkg::timing_t Timing = '0
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  input  wire logic              wake_i,
  input  wire logic [StampBits-1:0] now_i,
  input  wire logic [StampBits-1:0] soon_i,
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
  /// Slot of the row command: the first, or one later.
  input  wire logic [$clog2(CkRatio)-1:0] row_first_i,
  input  wire logic              row_late_i,
  output logic [Banks-1:0]       open_o,
  output logic                   any_open_o,
  /// An access, `all`: to every bank.
  input  wire logic [Looks-1:0]  look_i,
  input  wire logic [Looks-1:0][$clog2(Banks)-1:0] look_bank_i,
  input  wire logic [Looks-1:0][$clog2(Rows)-1:0] look_row_i,
  input  wire logic [Looks-1:0]  look_all_i,
  input  wire logic [Looks-1:0]  look_write_i,
  /// The bank is open; the access finds its row.
  output logic [Looks-1:0]       look_open_o,
  output logic [Looks-1:0]       look_hit_o,
  /// DRAM clocks from the next clock on until the rules of banks and groups allow its column command,
  /// ACT and PRE, and in the upper bit whether they reach beyond that clock; with `all` not those
  /// that every ACT and PRE of any bank has to keep.
  output logic [Looks-1:0][WaitBits:0] look_col_o,
  output logic [Looks-1:0][WaitBits:0] look_act_o,
  output logic [Looks-1:0][WaitBits:0] look_pre_o
);

  localparam int unsigned BankBits = $clog2(Banks);
  localparam int unsigned GroupBits = $clog2(BankGroups);
  localparam int unsigned RowBits = $clog2(Rows);
  typedef logic [StampBits-1:0] stamp_t;
  typedef logic [WaitBits:0] wait_t;

  // Clocks from `now_i` to the end of a rule, for each slot that its command can have gone out in.
  typedef stamp_t [CkRatio-1:0] after_t;

  function automatic after_t after(int unsigned clocks);
    for (int unsigned slot = 0; slot < CkRatio; slot++) after[slot] = stamp_t'(slot) + stamp_t'(clocks);
  endfunction

  localparam int unsigned SlotBits = $clog2(CkRatio);
  localparam int unsigned WriteEnd = 32'(Timing.cwl) + 32'(Timing.bl);
  localparam after_t RcdRd = after(32'(Timing.rcd_rd));
  localparam after_t RcdWr = after(32'(Timing.rcd_wr));
  localparam after_t Rp = after(32'(Timing.rp));
  localparam after_t Ras = after(32'(Timing.ras));
  localparam after_t Rc = after(32'(Timing.rc));
  localparam after_t CcdL = after(32'(Timing.ccd_l));
  localparam after_t RrdL = after(32'(Timing.rrd_l));
  localparam after_t WriteToPre = after(WriteEnd + 32'(Timing.wr));
  localparam after_t ReadToPre = after(32'(Timing.rtp));
  localparam after_t WriteToReadL = after(WriteEnd + 32'(Timing.wtr_l));

  // Bank state and stamps; `_last` and `_far` are the latest over the banks and over the groups.
  logic [Banks-1:0] open_q;
  logic [Banks-1:0] used_q;     // opened since the last refresh or wake-up
  logic [Banks-1:0] read_from_q, written_q;  // RD, WR since it was opened
  logic [RowBits-1:0] row_q [Banks];
  stamp_t act_at_q [Banks];     // ACT, by the ACT and by the PRE before it
  stamp_t rp_at_q [Banks];
  stamp_t read_at_q [Banks];
  stamp_t write_at_q [Banks];
  stamp_t ras_at_q [Banks];     // PRE, by the ACT before it
  stamp_t read_pre_at_q [Banks];   // PRE, by the RD and by the WR before it
  stamp_t write_pre_at_q [Banks];
  // The same of all banks; a bank has an entry of its own, of ACT, of ACT or PRE, of RD and of WR.
  logic [RowBits-1:0] row_all_q;
  stamp_t act_at_all_q, read_at_all_q, write_at_all_q, ras_at_all_q;
  stamp_t read_pre_at_all_q, write_pre_at_all_q;
  logic [Banks-1:0] own_act_q, own_rp_q, own_read_q, own_write_q;
  stamp_t [BankGroups-1:0] rrd_l_q, read_l_q, write_l_q;
  stamp_t read_last_q, write_last_q, read_far_q, write_far_q;
  logic together_q;             // all banks were opened by one ACT and share their row

  function automatic stamp_t later(stamp_t a, stamp_t b);
    return a > b ? a : b;
  endfunction

  function automatic logic [GroupBits-1:0] group_of(logic [BankBits-1:0] bank);
    return bank[GroupBits-1:0];
  endfunction

  // ---- commands -------------------------------------------------------------------------
  logic refresh, is_act, is_pre, is_read, is_write;
  logic [SlotBits-1:0] row_second;  // the slot after the first

  assign refresh = row_cmd_i == pim_pkg::CmdRef;
  assign is_act = row_cmd_i == pim_pkg::CmdAct;
  assign is_pre = row_cmd_i == pim_pkg::CmdPre;
  assign is_read = col_go_i && !col_write_i;
  assign is_write = col_go_i && col_write_i;
  assign row_second = row_first_i + 1'b1;

  // When a rule ends after a command of this clock.
  function automatic stamp_t col_end(after_t rule);
    return now_i + rule[col_slot_i];
  endfunction

  function automatic stamp_t row_end(after_t rule);
    return row_late_i ? now_i + rule[row_second] : now_i + rule[row_first_i];
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni || wake_i || refresh) begin
      open_q <= '0;
      used_q <= '0;
      read_from_q <= '0;
      written_q <= '0;
      together_q <= 1'b0;
      rrd_l_q <= '0;
      read_l_q <= '0;
      write_l_q <= '0;
      read_last_q <= '0;
      write_last_q <= '0;
      read_far_q <= '0;
      write_far_q <= '0;
    end else begin
      if (col_go_i && AllBank && col_all_i) begin
        if (col_write_i) written_q <= '1;
        else read_from_q <= '1;
        if (col_write_i) write_l_q <= {BankGroups{col_end(CcdL)}};
        read_l_q <= {BankGroups{col_write_i ? col_end(WriteToReadL) : col_end(CcdL)}};
      end else if (col_go_i) begin
        if (col_write_i) written_q[col_bank_i] <= 1'b1;
        else read_from_q[col_bank_i] <= 1'b1;
        if (col_write_i) write_l_q[group_of(col_bank_i)] <= col_end(CcdL);
        read_l_q[group_of(col_bank_i)] <= col_write_i ? col_end(WriteToReadL) : col_end(CcdL);
      end
      if (AllBank && is_write) begin
        write_far_q <= later(write_far_q, col_end(CcdL));
        read_far_q <= later(read_far_q, col_end(WriteToReadL));
      end else if (AllBank && is_read) begin
        read_far_q <= later(read_far_q, col_end(CcdL));
      end
      if (is_act) begin
        if (AllBank && row_all_i) begin
          open_q <= '1;
          used_q <= '1;
          read_from_q <= '0;
          written_q <= '0;
          rrd_l_q <= {BankGroups{row_end(RrdL)}};
        end else begin
          open_q[row_bank_i] <= 1'b1;
          used_q[row_bank_i] <= 1'b1;
          read_from_q[row_bank_i] <= 1'b0;
          written_q[row_bank_i] <= 1'b0;
          rrd_l_q[group_of(row_bank_i)] <= row_end(RrdL);
        end
        together_q <= row_all_i;
        if (AllBank) begin
          read_last_q <= row_end(RcdRd);
          write_last_q <= row_end(RcdWr);
        end
      end
      if (is_pre) begin
        together_q <= 1'b0;
        if (row_all_i) open_q <= '0;
        else open_q[row_bank_i] <= 1'b0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!(AllBank && row_all_i)) begin
      if (is_act) begin
        row_q[row_bank_i] <= row_row_i;
        read_at_q[row_bank_i] <= row_end(RcdRd);
        write_at_q[row_bank_i] <= row_end(RcdWr);
        ras_at_q[row_bank_i] <= row_end(Ras);
        act_at_q[row_bank_i] <= row_end(Rc);
      end
      // That of all banks is a rule of the channel.
      if (is_act || (is_pre && !row_all_i)) rp_at_q[row_bank_i] <= is_act ? '0 : row_end(Rp);
    end
    if (!(AllBank && col_all_i)) begin
      if (is_read) read_pre_at_q[col_bank_i] <= col_end(ReadToPre);
      if (is_write) write_pre_at_q[col_bank_i] <= col_end(WriteToPre);
    end
  end

  if (AllBank) begin : gen_all
    logic [Banks-1:0] row_bank, col_bank;
    assign row_bank = Banks'(1'b1) << row_bank_i;
    assign col_bank = Banks'(1'b1) << col_bank_i;

    always_ff @(posedge clk_i) begin
      if (is_act && row_all_i) begin
        row_all_q <= row_row_i;
        read_at_all_q <= row_end(RcdRd);
        write_at_all_q <= row_end(RcdWr);
        ras_at_all_q <= row_end(Ras);
        act_at_all_q <= row_end(Rc);
      end
      if (is_act) own_act_q <= row_all_i ? '0 : own_act_q | row_bank;
      if (is_act || (is_pre && !row_all_i)) own_rp_q <= row_all_i ? '0 : own_rp_q | row_bank;
      if (is_read) begin
        own_read_q <= col_all_i ? '0 : own_read_q | col_bank;
        if (col_all_i) read_pre_at_all_q <= col_end(ReadToPre);
      end
      if (is_write) begin
        own_write_q <= col_all_i ? '0 : own_write_q | col_bank;
        if (col_all_i) write_pre_at_all_q <= col_end(WriteToPre);
      end
    end
  end else begin : gen_own
    assign {row_all_q, read_at_all_q, write_at_all_q, ras_at_all_q, act_at_all_q} = '0;
    assign {read_pre_at_all_q, write_pre_at_all_q} = '0;
    assign {own_act_q, own_rp_q, own_read_q, own_write_q} = '1;
  end

  // ---- looks ----------------------------------------------------------------------------
  // What holds of a bank: what it has of its own, or what all banks have.
  function automatic stamp_t of_bank(logic own, stamp_t entry, stamp_t all);
    return AllBank && !own ? all : entry;
  endfunction

  // Until the latest of some times, side by side: the clock is short.
  function automatic wait_t until_of(stamp_t at);
    stamp_t left;
    left = at - soon_i;
    return at > soon_i ? {left >= stamp_t'(CkRatio), left[WaitBits-1:0]} : '0;
  endfunction

  function automatic wait_t wait_of(stamp_t a, stamp_t b);
    return a > b ? until_of(a) : until_of(b);
  endfunction

  function automatic wait_t longest_of(stamp_t a, stamp_t b, stamp_t c);
    return a >= b && a >= c ? until_of(a) : b >= c ? until_of(b) : until_of(c);
  endfunction

  // The memories answer before the bits of a bank are found: those choose last.
  for (genvar l = 0; l < Looks; l++) begin : gen_look
    logic [BankBits-1:0] bank;
    logic [GroupBits-1:0] group;
    assign bank = look_bank_i[l];
    assign group = group_of(bank);
    always_comb begin
      look_open_o[l] = 1'b0;
      look_hit_o[l] = 1'b0;
      look_col_o[l] = '0;
      look_act_o[l] = '0;
      look_pre_o[l] = '0;
      if (look_i[l]) begin
        if (AllBank && look_all_i[l]) begin
          look_hit_o[l] = together_q && row_all_q == look_row_i[l];
          look_col_o[l] = look_write_i[l] ? wait_of(write_last_q, write_far_q)
                                          : wait_of(read_last_q, read_far_q);
          look_act_o[l] = until_of(rrd_l_q[group]);
        end else begin
          look_open_o[l] = open_q[bank];
          look_hit_o[l] = open_q[bank] && (AllBank && !own_act_q[bank] ? row_all_q : row_q[bank])
              == look_row_i[l];
          look_col_o[l] = !open_q[bank]
              ? until_of(look_write_i[l] ? write_l_q[group] : read_l_q[group])
              : look_write_i[l]
              ? wait_of(of_bank(own_act_q[bank], write_at_q[bank], write_at_all_q), write_l_q[group])
              : wait_of(of_bank(own_act_q[bank], read_at_q[bank], read_at_all_q), read_l_q[group]);
          look_act_o[l] = used_q[bank]
              ? longest_of(of_bank(own_act_q[bank], act_at_q[bank], act_at_all_q),
                           of_bank(own_rp_q[bank], rp_at_q[bank], '0), rrd_l_q[group])
              : until_of(rrd_l_q[group]);
          look_pre_o[l] = !open_q[bank] ? '0 : longest_of(
              of_bank(own_act_q[bank], ras_at_q[bank], ras_at_all_q),
              read_from_q[bank]
                  ? of_bank(own_read_q[bank], read_pre_at_q[bank], read_pre_at_all_q) : '0,
              written_q[bank]
                  ? of_bank(own_write_q[bank], write_pre_at_q[bank], write_pre_at_all_q) : '0);
        end
      end
    end
  end

  assign open_o = open_q;
  assign any_open_o = open_q != '0;

endmodule

`default_nettype wire
