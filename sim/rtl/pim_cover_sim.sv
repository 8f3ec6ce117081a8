`default_nettype none

/// Functional cover points of the device, bound into `pim_top` in builds that count coverage.
///
/// What a test suite must have met, whatever lines it ran: every opcode at every size and place,
/// with and without somebody in its way; every code; a refresh in every state; the conflicts of
/// banks. `python -m pimloop.sim.check.coverage` lists those not hit. Points that cannot be hit are not made.
module pim_cover_sim #(
  parameter int unsigned Banks = 16,
  parameter int unsigned BankGroups = 4,
  /// Bytes an address range covers before the next row of a bank: a page.
  parameter int unsigned PageBytes = 8192,
  parameter int unsigned BeatBytes = 64
) (
  input wire logic                      clk_i,
  input wire logic                      rst_ni,
  input wire pim_isa_pkg::descriptor_t  desc_i,
  input wire logic                      start_i,   // of a copy or a computation
  input wire logic                      done_i,    // end of it
  input wire logic                      record_i,  // a completion record is written
  input wire logic                      ended_i,
  input wire pim_isa_pkg::code_e        end_code_i,
  input wire logic                      busy_i,
  input wire logic                      doorbell_i,  // written, taken or not
  input wire logic                      soft_reset_i,
  input wire logic                      stall_i,   // the bus master waits for host memory
  input wire logic                      asleep_i,
  input wire logic                      lanes_busy_i,
  input wire pim_pkg::dram_cmd_e        col_cmd_i,
  input wire pim_pkg::dram_cmd_e        row_cmd_i,
  input wire logic [$clog2(Banks)-1:0]  col_bank_i,
  input wire logic [$clog2(Banks)-1:0]  row_bank_i,
  input wire logic [Banks-1:0]          open_i
);

  localparam int unsigned GroupBits = $clog2(BankGroups);

  // ---- what is running -------------------------------------------------------------------
  logic active_q, refreshed_q;
  logic [31:0] stalls_q;
  pim_isa_pkg::opcode_e opcode;
  logic refresh;

  assign opcode = pim_isa_pkg::opcode_e'(desc_i.control.opcode);
  assign refresh = row_cmd_i == pim_pkg::CmdRef;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      {active_q, refreshed_q} <= '0;
      stalls_q <= '0;
    end else if (start_i) begin
      active_q <= 1'b1;
      stalls_q <= '0;
      refreshed_q <= 1'b0;
    end else begin
      if (done_i) active_q <= 1'b0;
      stalls_q <= stalls_q + 32'(stall_i);
      refreshed_q <= refreshed_q || refresh;
    end
  end

  // ---- opcode x size x place x what is in the way ----------------------------------------
  logic copy, one_beat, one_row, crosses, at_start, disturbed;
  logic [31:0] bytes, place;
  logic [1:0] size, where;

  assign copy = pim_isa_pkg::is_copy(opcode);
  assign bytes = copy ? desc_i.inner : desc_i.control.out_f32 ? 4 * desc_i.cols : 2 * desc_i.cols;
  assign place = (opcode == pim_isa_pkg::OpcodeCopyOut ? desc_i.addr_a : desc_i.addr_y) &
                 32'(PageBytes - 1);
  assign one_row = desc_i.rows == 32'd1;
  assign one_beat = one_row && bytes <= 32'(BeatBytes);
  assign at_start = place == '0;
  assign crosses = place + bytes > 32'(PageBytes);
  assign size = one_beat ? 2'd0 : one_row ? 2'd1 : 2'd2;
  assign where = crosses ? 2'd2 : at_start ? 2'd0 : 2'd1;
  // A copy meets host memory that pauses for half as long as it works, a computation a refresh.
  assign disturbed = copy ? stalls_q > 32'd16 + desc_i.rows * bytes / 32'd128 :
                            refreshed_q || refresh;

  for (genvar op = 0; op <= pim_isa_pkg::OpcodeLast; op++) begin : gen_op
    localparam pim_isa_pkg::opcode_e Op = pim_isa_pkg::opcode_e'(op);
    if (pim_isa_pkg::is_copy(Op) || pim_isa_pkg::is_compute(Op)) begin : gen_work
      for (genvar s = 0; s < 3; s++) begin : gen_size
        for (genvar w = 0; w < 3; w++) begin : gen_where
          for (genvar d = 0; d < 2; d++) begin : gen_disturbed
            // One beat lies in one page.
            if (!(s == 0 && w == 2)) begin : gen_possible
              operation: cover property (@(posedge clk_i) rst_ni && done_i && opcode == Op &&
                  size == s && where == w && disturbed == d);
            end
          end
        end
      end
      recorded: cover property (@(posedge clk_i) rst_ni && record_i && opcode == Op);
      refused: cover property (@(posedge clk_i) rst_ni && ended_i && opcode == Op &&
          end_code_i != pim_isa_pkg::CodeDone);
      // A refresh while it works, with rows open, and with lanes at work.
      refreshing: cover property (@(posedge clk_i) rst_ni && active_q && refresh && opcode == Op);
    end
  end

  for (genvar b = 0; b < pim_isa_pkg::BroadcastValues; b++) begin : gen_broadcast
    broadcast: cover property (@(posedge clk_i) rst_ni && done_i &&
        pim_isa_pkg::is_elementwise(opcode) && desc_i.control.broadcast == b);
  end
  for (genvar op = 0; op <= pim_isa_pkg::OpcodeLast; op++) begin : gen_product
    localparam pim_isa_pkg::opcode_e Op = pim_isa_pkg::opcode_e'(op);
    for (genvar i = 0; i < pim_isa_pkg::InitValues; i++) begin : gen_init
      for (genvar f = 0; f < 2; f++) begin : gen_f32
        if (pim_isa_pkg::is_product(Op)) begin : gen_possible
          product: cover property (@(posedge clk_i) rst_ni && done_i && opcode == Op &&
              desc_i.control.init == i && desc_i.control.out_f32 == f);
        end
      end
    end
  end

  // Products by weights of 8 and 4 bits, which devices with several rows a beat have: result, one row
  // or several, a last group with fewer inner elements.
  logic short_group;
  assign short_group = (desc_i.inner & ~(32'hffffffff << desc_i.control.group)) != '0;

  for (genvar w = 0; w < 2; w++) begin : gen_weights
    localparam pim_isa_pkg::weights_e Weights = w == 0 ? pim_isa_pkg::WeightsW8
                                                       : pim_isa_pkg::WeightsW4;
    for (genvar f = 0; f < 2; f++) begin : gen_f32
      for (genvar r = 0; r < 2; r++) begin : gen_rows
        for (genvar g = 0; g < 2; g++) begin : gen_group
          integers: cover property (@(posedge clk_i) rst_ni && done_i &&
              opcode == pim_isa_pkg::OpcodeMatmul && desc_i.control.weights == Weights &&
              desc_i.control.out_f32 == f && one_row == (r == 0) && short_group == g);
        end
      end
    end
    for (genvar i = 0; i < pim_isa_pkg::InitValues; i++) begin : gen_init
      integers: cover property (@(posedge clk_i) rst_ni && done_i &&
          opcode == pim_isa_pkg::OpcodeMatmul && desc_i.control.weights == Weights &&
          desc_i.control.init == i);
    end
  end

  // ---- ends ------------------------------------------------------------------------------
  for (genvar c = pim_isa_pkg::ErrorFirst; c <= pim_isa_pkg::ErrorLast; c++) begin : gen_code
    code: cover property (@(posedge clk_i) rst_ni && ended_i && end_code_i == 8'(c));
  end
  ended: cover property (@(posedge clk_i) rst_ni && ended_i && end_code_i == pim_isa_pkg::CodeDone);
  dropped_doorbell: cover property (@(posedge clk_i) rst_ni && busy_i && doorbell_i);
  reset_in_flight: cover property (@(posedge clk_i) rst_ni && busy_i && soft_reset_i);
  reset_at_work: cover property (@(posedge clk_i) rst_ni && active_q && soft_reset_i);
  reset_idle: cover property (@(posedge clk_i) rst_ni && !busy_i && soft_reset_i);

  // ---- refresh and banks -----------------------------------------------------------------
  refresh_between: cover property (@(posedge clk_i) rst_ni && busy_i && !active_q && refresh);
  refresh_stalled: cover property (@(posedge clk_i) rst_ni && active_q && stall_i && refresh);
  refresh_lanes: cover property (@(posedge clk_i) rst_ni && lanes_busy_i && refresh);
  asleep: cover property (@(posedge clk_i) rst_ni && asleep_i);

  logic [Banks-1:0] conflict_q;  // banks closed although another row of them is wanted
  pim_pkg::dram_cmd_e last_col_q;
  logic [$clog2(Banks)-1:0] last_bank_q, last_act_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      conflict_q <= '0;
      last_col_q <= pim_pkg::CmdNop;
      {last_bank_q, last_act_q} <= '0;
    end else begin
      if (refresh) conflict_q <= '0;
      if (row_cmd_i == pim_pkg::CmdPre) conflict_q[row_bank_i] <= 1'b1;
      if (row_cmd_i == pim_pkg::CmdAct) begin
        conflict_q[row_bank_i] <= 1'b0;
        last_act_q <= row_bank_i;
      end
      if (col_cmd_i != pim_pkg::CmdNop) begin
        last_col_q <= col_cmd_i;
        last_bank_q <= col_bank_i;
      end
    end
  end

  function automatic logic same_group(logic [$clog2(Banks)-1:0] a, logic [$clog2(Banks)-1:0] b);
    return a[GroupBits-1:0] == b[GroupBits-1:0];
  endfunction

  logic act, read, write;
  assign act = row_cmd_i == pim_pkg::CmdAct;
  assign read = col_cmd_i == pim_pkg::CmdRd;
  assign write = col_cmd_i == pim_pkg::CmdWr;

  bank_conflict: cover property (@(posedge clk_i) rst_ni && act && conflict_q[row_bank_i]);
  act_while_open: cover property (@(posedge clk_i) rst_ni && act && open_i != '0);
  act_same_group: cover property (@(posedge clk_i) rst_ni && act && open_i != '0 &&
      row_bank_i != last_act_q && same_group(row_bank_i, last_act_q));
  row_and_column: cover property (@(posedge clk_i) rst_ni && act && (read || write));
  read_after_write: cover property (@(posedge clk_i) rst_ni && read &&
      last_col_q == pim_pkg::CmdWr);
  read_after_write_same_bank: cover property (@(posedge clk_i) rst_ni && read &&
      last_col_q == pim_pkg::CmdWr && col_bank_i == last_bank_q);
  write_after_read: cover property (@(posedge clk_i) rst_ni && write &&
      last_col_q == pim_pkg::CmdRd);
  column_same_group: cover property (@(posedge clk_i) rst_ni && (read || write) &&
      col_bank_i != last_bank_q && same_group(col_bank_i, last_bank_q));

endmodule

bind pim_top pim_cover_sim #(
  .Banks(Banks),
  .BankGroups(BankGroups),
  .PageBytes(AllBank != 0 ? Banks * RowBytes : RowBytes),
  .BeatBytes(BeatBytes)
) u_cover (
  .clk_i(clk_i),
  .rst_ni(core_rst_nq),
  .desc_i(desc),
  .start_i(work.copy_start || work.seq_start),
  .done_i(done.copy_done || done.seq_done),
  .record_i(control.count_capture),
  .ended_i(u_front.ended),
  .end_code_i(u_front.end_code),
  .busy_i(control.busy),
  .doorbell_i(u_front.u_regs.write &&
              u_front.u_regs.aw_addr_q == pim_isa_pkg::RegDoorbell),
  .soft_reset_i(soft_reset),
  .stall_i(control.stall),
  .asleep_i(mem_asleep_o),
  .lanes_busy_i(engine_state.lanes_busy),
  .col_cmd_i(mem_col_cmd_o),
  .row_cmd_i(mem_row_cmd_o),
  .col_bank_i(mem_col_bank_o),
  .row_bank_i(mem_row_bank_o),
  .open_i(u_channel.open)
);

`default_nettype wire
