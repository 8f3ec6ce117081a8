`default_nettype none

/// Queue of two spans, with the pace of multiply steps and the look-ahead of all_bank style.
///
/// The fields of the first span are registers of their own: only its address and count move with
/// every access. What a column command needs to know of it is decoded a clock ahead.
module pim_sched_queue #(
  parameter bit AllBank = 1'b0,
  /// The accesses of a span lie in several banks.
  parameter bit Walks = AllBank,
  parameter int unsigned Banks = 16,
  /// Bytes of one row of one bank, of one column access of one bank.
  parameter int unsigned RowBytes = 8192,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned LaneLatency = 4
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  /// Drop the spans that are waiting.
  input  wire logic              flush_i,
  input  wire logic              valid_i,
  output logic                   ready_o,
  input  wire pim_pkg::span_t    span_i,
  /// The column command of the first span goes out.
  input  wire logic              col_go_i,
  /// all_bank: the atom that is looked at finds its row open.
  input  wire logic              look_hit_i,
  output logic                   head_valid_o,
  output logic [31:0]            head_addr_o,
  output logic [31:0]            head_count_o,
  output      pim_pkg::kind_e    head_kind_o,
  output logic                   head_all_o,
  output logic                   head_hold_o,
  output logic [2:0]             head_row_o,
  output logic                   head_last_o,
  output logic                   head_write_o,
  /// It is of a copy to the host, of one from there.
  output logic                   head_copy_out_o,
  output logic                   head_copy_in_o,
  /// The access is the last of its span, of a step of the inner dimension.
  output logic                   head_final_o,
  output logic                   step_end_o,
  /// The lanes can take a product on these accumulators.
  output logic                   pace_o,
  output logic                   next_valid_o,
  output logic [31:0]            next_addr_o,
  output logic                   next_write_o,
  /// In this clock: the first span ends, or there is none; a span enters the queue.
  output logic                   head_done_o,
  output logic                   take_o,
  /// Walks: the first access of the next clock, when it changes in this one.
  output logic [31:0]            coming_addr_o,
  output logic                   coming_all_o,
  output logic                   coming_write_o,
  /// all_bank: atoms that the look-ahead is in front of the first one; address in the next clock.
  output logic [$clog2(Banks)-1:0] look_o,
  output logic [31:0]            look_coming_o
);

  localparam int unsigned BankBits = $clog2(Banks);
  localparam int unsigned AtomBits = $clog2(AtomBytes);
  localparam int unsigned BeatBytes = AllBank ? Banks * AtomBytes : AtomBytes;
  // A span lies in one page: its accesses, and the part of the address that moves.
  localparam int unsigned PageBits = $clog2(AllBank ? Banks * RowBytes : RowBytes);
  localparam int unsigned CountBits = PageBits - AtomBits + 1;
  localparam int unsigned PaceBits = LaneLatency > 1 ? LaneLatency - 1 : 1;

  logic head_valid_q, next_valid_q;
  logic [31:0] head_addr_q;
  logic [CountBits-1:0] head_count_q;
  pim_pkg::kind_e head_kind_q;
  logic head_all_q, head_hold_q, head_last_q, head_write_q, head_final_q;
  logic head_copy_out_q, head_copy_in_q;
  logic [6:0] head_period_q;
  logic [2:0] head_row_q;
  pim_pkg::span_t next_q;

  // Pace of multiply steps.
  logic [6:0] step_q;
  logic [PaceBits-1:0] issued_q;  // fabric clocks before this one with a beat to be multiplied
  logic pace_q;

  // Look-ahead over the atoms of the span (all_bank style).
  logic [BankBits-1:0] look_q, look_coming;

  logic mac_go, scale_go, change;
  pim_pkg::span_t next_head;
  logic [PaceBits-1:0] issued;

  // The beat `period` beats ago met the same accumulators.
  function automatic logic paced(pim_pkg::kind_e kind, logic [6:0] period, logic [PaceBits-1:0] sent);
    return kind != pim_pkg::KindMac || LaneLatency == 1 ||
           7'(unsigned'($countones(sent))) < period;
  endfunction

  assign next_head = next_valid_q ? next_q : span_i;
  assign mac_go = col_go_i && head_kind_q == pim_pkg::KindMac;
  assign scale_go = col_go_i && head_kind_q == pim_pkg::KindScale;
  assign issued = PaceBits'({issued_q, mac_go});
  assign head_done_o = col_go_i && head_final_q;
  assign change = head_done_o || !head_valid_q;
  assign ready_o = !next_valid_q;
  assign take_o = valid_i && ready_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      head_valid_q <= 1'b0;
      next_valid_q <= 1'b0;
      head_addr_q <= '0;
      head_count_q <= '0;
      head_kind_q <= pim_pkg::KindCopyOut;
      head_all_q <= 1'b0;
      head_hold_q <= 1'b0;
      head_period_q <= '0;
      head_row_q <= '0;
      head_last_q <= 1'b0;
      head_write_q <= 1'b0;
      head_copy_out_q <= 1'b1;
      head_copy_in_q <= 1'b0;
      head_final_q <= 1'b0;
      next_q <= '0;
      look_q <= '0;
      step_q <= '0;
      issued_q <= '0;
      pace_q <= 1'b1;
    end else begin
      if (change) begin
        head_valid_q <= next_valid_q || take_o;
        next_valid_q <= 1'b0;
        if (next_valid_q || take_o) begin
          head_addr_q <= next_head.run.addr;
          head_count_q <= CountBits'(next_head.run.count);
          head_kind_q <= next_head.run.kind;
          head_all_q <= next_head.run.all;
          head_hold_q <= next_head.run.hold;
          head_period_q <= next_head.run.period;
          head_row_q <= next_head.run.row;
          head_last_q <= next_head.last;
          head_write_q <= pim_pkg::is_write(next_head.run.kind);
          head_copy_out_q <= next_head.run.kind == pim_pkg::KindCopyOut;
          head_copy_in_q <= next_head.run.kind == pim_pkg::KindCopyIn;
          head_final_q <= CountBits'(next_head.run.count) == CountBits'(32'd1);
        end
        pace_q <= paced(next_head.run.kind, next_head.run.period, issued);
      end else begin
        if (col_go_i) begin
          head_addr_q[PageBits-1:0] <= head_addr_q[PageBits-1:0] +
              ((head_all_q && AllBank) ? PageBits'(BeatBytes) : PageBits'(AtomBytes));
          head_count_q <= head_count_q - 1'b1;
          head_final_q <= head_count_q == CountBits'(32'd2);
          head_hold_q <= 1'b0;
        end
        if (take_o) begin
          next_valid_q <= 1'b1;
          next_q <= span_i;
        end
        pace_q <= paced(head_kind_q, head_period_q, issued);
      end
      if (AllBank) look_q <= look_coming;
      if (mac_go || scale_go) step_q <= step_end_o ? '0 : step_q + 7'd1;
      issued_q <= issued;
    end
  end

  always_comb begin
    coming_addr_o = head_addr_q + (col_go_i ? 32'(AtomBytes) : '0);
    coming_all_o = head_all_q;
    coming_write_o = head_write_q;
    if (!Walks || change) begin
      coming_addr_o = next_head.run.addr;
      coming_all_o = next_head.run.all;
      coming_write_o = pim_pkg::is_write(next_head.run.kind);
    end
  end

  if (AllBank) begin : gen_look
    always_comb begin
      look_coming = '0;
      if (!change) begin
        look_coming = look_q;
        if (col_go_i) look_coming = look_q == '0 ? '0 : look_q - 1'b1;
        else if (look_hit_i && look_q != '1 && 32'(look_q) < 32'(head_count_q)) look_coming = look_q + 1'b1;
      end
      look_coming_o = coming_addr_o + (32'(look_coming) << AtomBits);
    end
  end else begin : gen_no_look
    logic unused;
    assign unused = look_hit_i;
    assign look_coming = '0;
    assign look_coming_o = '0;
  end

  assign head_valid_o = head_valid_q;
  assign head_addr_o = head_addr_q;
  assign head_count_o = 32'(head_count_q);
  assign head_kind_o = head_kind_q;
  assign head_all_o = head_all_q;
  assign head_hold_o = head_hold_q;
  assign head_row_o = head_row_q;
  assign head_last_o = head_last_q;
  assign head_write_o = head_write_q;
  assign head_copy_out_o = head_copy_out_q;
  assign head_copy_in_o = head_copy_in_q;
  assign head_final_o = head_final_q;
  assign step_end_o = step_q + 7'd1 == head_period_q;
  assign pace_o = pace_q;
  assign next_valid_o = next_valid_q;
  assign next_addr_o = next_q.run.addr;
  assign next_write_o = pim_pkg::is_write(next_q.run.kind);
  assign look_o = look_q;

endmodule

`default_nettype wire
