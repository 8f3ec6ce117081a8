`default_nettype none

/// DRAM clocks that the channel still has to wait: the rules between any two banks.
///
/// Each wait is counted down and lengthened by the commands of every clock.
module pim_sched_channel #(
  parameter int unsigned CkRatio = 4,
  parameter int unsigned LaneSpacing = 4,
  parameter int unsigned RowsPerBeat = 1,
  parameter int unsigned LaneSets = 1,
  parameter int unsigned StampBits = 16,
  parameter int unsigned WaitBits = 7,
  parameter int unsigned RestBits = 10,
  parameter pim_pkg::timing_t Timing = '0
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  input  wire logic              wake_i,
  input  wire logic [StampBits-1:0] now_i,
  input  wire logic [StampBits-1:0] soon_i,
  /// The commands of this clock; a column command for the lanes keeps their distance.
  input  wire logic              col_go_i,
  input  wire logic              col_write_i,
  input  wire logic              col_lanes_i,
  /// Last row of the left operand that its beat is for.
  input  wire logic [2:0]        col_row_i,
  input  wire logic [$clog2(CkRatio)-1:0] col_slot_i,
  input  wire pim_pkg::dram_cmd_e row_cmd_i,
  input  wire logic              row_all_i,
  /// Slot of the row command: the first, or one later.
  input  wire logic [$clog2(CkRatio)-1:0] row_first_i,
  input  wire logic              row_late_i,
  /// A read, a write, ACT of any bank; ACT, or REF, and PRE of all banks: in the upper bit whether the
  /// rules allow it in this clock, below it the first slot.
  output logic [$clog2(CkRatio):0] read_due_o,
  output logic [$clog2(CkRatio):0] write_due_o,
  output logic [$clog2(CkRatio):0] any_act_due_o,
  output logic [$clog2(CkRatio):0] act_last_due_o,
  output logic [$clog2(CkRatio):0] pre_last_due_o,
  /// What is left of the waits of the last two in the next clock, but for the commands of this one.
  output logic [WaitBits:0]      act_last_o,
  output logic [WaitBits:0]      pre_last_o,
  /// Wait of PRE after the column command of this clock, in the next one.
  output logic [WaitBits:0]      col_pre_o,
  /// No rule holds REF back.
  output logic                   rest_o
);

  localparam int unsigned SlotBits = $clog2(CkRatio);
  typedef logic [StampBits-1:0] stamp_t;
  // DRAM clocks, and whether they reach beyond this clock: known a clock ahead, without a sum.
  typedef struct packed {
    logic beyond;
    logic [WaitBits-1:0] clocks;
  } wait_t;

  function automatic wait_t wait_of(int unsigned clocks);
    return '{beyond: clocks >= CkRatio, clocks: WaitBits'(clocks)};
  endfunction

  // The same of the long waits after a refresh and self-refresh.
  typedef struct packed {
    logic beyond;
    logic [RestBits-1:0] clocks;
  } rest_t;

  function automatic rest_t rest_of(int unsigned clocks);
    return '{beyond: clocks >= CkRatio, clocks: RestBits'(clocks)};
  endfunction

  // Waits in the next clock until some clocks after a command, for each slot it can have gone out in.
  typedef wait_t [CkRatio-1:0] after_t;

  function automatic after_t after(int unsigned clocks);
    for (int unsigned slot = 0; slot < CkRatio; slot++) begin
      after[slot] = wait_of(slot + clocks > CkRatio ? slot + clocks - CkRatio : 0);
    end
  endfunction

  // Of a read after a beat for the lanes, by the last row that the beat is for.
  typedef after_t [7:0] gaps_t;

  function automatic gaps_t lane_gaps();
    for (int unsigned row = 0; row < 8; row++) begin
      lane_gaps[row] = after(pim_pkg::most(
          LaneSpacing * (row < RowsPerBeat ? row / LaneSets + 1 : 1), 32'(Timing.ccd_s)));
    end
  endfunction

  localparam int unsigned WriteEnd = 32'(Timing.cwl) + 32'(Timing.bl);
  localparam after_t Rp = after(32'(Timing.rp));
  localparam after_t Ras = after(32'(Timing.ras));
  localparam after_t Rc = after(32'(Timing.rc));
  localparam after_t CcdS = after(32'(Timing.ccd_s));
  localparam gaps_t LaneGap = lane_gaps();
  localparam after_t RrdS = after(32'(Timing.rrd_s));
  localparam after_t ReadToPre = after(32'(Timing.rtp));
  localparam after_t WriteToPre = after(WriteEnd + 32'(Timing.wr));
  localparam after_t WriteToRead = after(WriteEnd + 32'(Timing.wtr_s));
  // Bus turnaround, two idle clocks between read and write data (JESD79-4, 4.25).
  localparam after_t ReadToWrite =
      after(32'(Timing.cl) + 32'(Timing.bl) + 2 - 32'(Timing.cwl));
  localparam rest_t Rfc = rest_of(32'(Timing.rfc) - CkRatio);
  localparam rest_t Xs = rest_of(32'(Timing.xs));
  localparam rest_t Xsdll = rest_of(32'(Timing.xsdll));
  // Clocks from `now_i` to the end of the window of tFAW, for each slot of its ACT.
  typedef stamp_t [CkRatio-1:0] stamps_t;

  function automatic stamps_t faw_after();
    for (int unsigned slot = 0; slot < CkRatio; slot++) begin
      faw_after[slot] = stamp_t'(slot) + stamp_t'(Timing.faw);
    end
  endfunction

  localparam stamps_t FawAfter = faw_after();

  wait_t read_s_q, write_s_q;   // column commands
  wait_t any_act_q;             // ACT of any bank
  wait_t act_last_q, pre_last_q;  // ACT, or REF, and PRE of all banks
  rest_t rest_q;                // ACT and REF, after REF and self-refresh
  rest_t lock_q;                // column commands, until the DLL has locked
  // When the last four ACT leave the window of tFAW, oldest at the head.
  stamp_t [3:0] faw_q;
  logic [1:0] faw_head_q;

  function automatic wait_t longer(wait_t a, wait_t b);
    return '{beyond: a.beyond || b.beyond, clocks: a.clocks > b.clocks ? a.clocks : b.clocks};
  endfunction

  // What is left of a wait in the next clock.
  function automatic wait_t left_of(wait_t now);
    return '{beyond: now.clocks[WaitBits-1:SlotBits+1] != '0,
             clocks: now.beyond ? now.clocks - WaitBits'(CkRatio) : '0};
  endfunction

  function automatic rest_t rest_left(rest_t now);
    return '{beyond: now.clocks[RestBits-1:SlotBits+1] != '0,
             clocks: now.beyond ? now.clocks - RestBits'(CkRatio) : '0};
  endfunction

  // Whether a wait ends in this clock, and its slot; and of a rest as well.
  function automatic logic [SlotBits:0] due(wait_t now);
    return {!now.beyond, now.clocks[SlotBits-1:0]};
  endfunction

  function automatic logic [SlotBits:0] both(wait_t now, rest_t rest);
    return {!now.beyond && !rest.beyond,
            now.clocks[SlotBits-1:0] > rest.clocks[SlotBits-1:0]
            ? now.clocks[SlotBits-1:0] : rest.clocks[SlotBits-1:0]};
  endfunction

  logic [SlotBits-1:0] row_second;  // the slot after the first
  assign row_second = row_first_i + 1'b1;

  // Waits after the row command: what its lateness changes is chosen last.
  function automatic wait_t row_after(after_t waits);
    return row_late_i ? waits[row_second] : waits[row_first_i];
  endfunction

  function automatic wait_t row_longer(wait_t left, after_t waits);
    return row_late_i ? longer(left, waits[row_second]) : longer(left, waits[row_first_i]);
  endfunction

  stamp_t faw;
  wait_t faw_left;
  wait_t col_pre;  // of PRE, after the column command of this clock

  assign col_pre = col_write_i ? WriteToPre[col_slot_i] : ReadToPre[col_slot_i];

  // That of the second oldest ACT is the oldest when one more goes out.
  assign faw = faw_q[faw_head_q + 2'd1];
  assign faw_left = faw > soon_i ? '{beyond: faw - soon_i >= stamp_t'(CkRatio),
                                     clocks: WaitBits'(faw - soon_i)} : '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || wake_i) begin
      read_s_q <= '0;
      write_s_q <= '0;
      any_act_q <= '0;
      act_last_q <= '0;
      pre_last_q <= '0;
      rest_q <= Xs;
      lock_q <= Xsdll;
      faw_q <= '0;
      faw_head_q <= '0;
    end else begin
      read_s_q <= left_of(read_s_q);
      write_s_q <= left_of(write_s_q);
      any_act_q <= left_of(any_act_q);
      act_last_q <= left_of(act_last_q);
      pre_last_q <= left_of(pre_last_q);
      rest_q <= rest_left(rest_q);
      lock_q <= rest_left(lock_q);
      if (col_go_i && col_write_i) begin
        write_s_q <= CcdS[col_slot_i];
        read_s_q <= longer(left_of(read_s_q), WriteToRead[col_slot_i]);
      end else if (col_go_i) begin
        read_s_q <= col_lanes_i ? LaneGap[col_row_i][col_slot_i] : CcdS[col_slot_i];
        write_s_q <= longer(left_of(write_s_q), ReadToWrite[col_slot_i]);
      end
      if (col_go_i) pre_last_q <= longer(left_of(pre_last_q), col_pre);
      unique case (row_cmd_i)
        pim_pkg::CmdAct: begin
          act_last_q <= row_after(Rc);
          if (col_go_i) pre_last_q <= row_longer(longer(left_of(pre_last_q), col_pre), Ras);
          else pre_last_q <= row_longer(left_of(pre_last_q), Ras);
          any_act_q <= row_longer(faw_left, RrdS);
          faw_q[faw_head_q] <= row_late_i ? now_i + FawAfter[row_second] : now_i + FawAfter[row_first_i];
          faw_head_q <= faw_head_q + 2'd1;
        end
        pim_pkg::CmdPre: begin
          act_last_q <= row_longer(left_of(act_last_q), Rp);
          if (row_all_i) any_act_q <= longer(left_of(any_act_q), Rp[row_first_i]);
        end
        pim_pkg::CmdRef: begin
          // All other rules end within tRFC and tXS; that of the DLL goes on through the refresh.
          rest_q <= '{beyond: Rfc.beyond, clocks: Rfc.clocks + RestBits'(row_first_i)};
          any_act_q <= '0;
          act_last_q <= '0;
          pre_last_q <= '0;
          faw_q <= '0;
          faw_head_q <= '0;
        end
        default: ;
      endcase
    end
  end

  assign read_due_o = both(read_s_q, lock_q);
  assign write_due_o = both(write_s_q, lock_q);
  assign any_act_due_o = both(any_act_q, rest_q);
  assign act_last_due_o = both(act_last_q, rest_q);
  assign pre_last_due_o = due(pre_last_q);
  assign act_last_o = left_of(act_last_q);
  assign pre_last_o = left_of(pre_last_q);
  assign col_pre_o = col_pre;
  assign rest_o = act_last_q.clocks == '0 && rest_q.clocks == '0;

endmodule

`default_nettype wire
