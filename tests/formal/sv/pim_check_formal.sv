/// pim_check: a descriptor that passes leads inside the host window, and every check ends.
///
/// `Patience` is the bound that pim_check states. Assumed: descriptor and window stay while a check
/// runs.
/// `OneRow`, for the covers: copies of one row, so that the search need not multiply.
module pim_check_formal #(
  parameter int unsigned Patience = 20,
  parameter bit OneRow = 1'b0
) (
  input logic                     clk_i,
  input logic                     start_i,
  input pim_isa_pkg::descriptor_t desc_i,
  input logic [63:0]              addr_i,
  input logic [63:0]              base_i,
  input logic [63:0]              size_i
);

  logic rst_ni = 1'b0;
  always_ff @(posedge clk_i) rst_ni <= 1'b1;

  pim_isa_pkg::descriptor_t desc;
  always_comb begin
    desc = desc_i;
    if (OneRow) begin
      desc.control.opcode = pim_isa_pkg::OpcodeCopyIn;
      desc.rows = 32'd1;
      desc.inner = 32'd64;
      desc.cols = '0;
      desc.stride_a = '0;
      desc.stride_b = '0;
      desc.stride_y = '0;
      desc.tile = '0;
    end
  end

  logic done;
  pim_isa_pkg::code_e code;
  pim_check u_dut (
    .clk_i, .rst_ni, .start_i, .desc_i(desc), .desc_addr_i(addr_i), .window_base_i(base_i),
    .window_size_i(size_i), .done_o(done), .code_o(code)
  );

  // Numbers of the checker's steps.
  localparam logic [4:0] StepIdle = 5'd0, StepStatic = 5'd1, StepHost = 5'd18,
      StepOverlap = 5'd19, StepDone = 5'd20;
  logic [4:0] step;
  assign step = u_dut.step_q;

  pim_isa_pkg::descriptor_t desc_q;
  logic [63:0] base_q, size_q, addr_q;
  logic [5:0] spent_q;  // clocks since the one after the start
  always_ff @(posedge clk_i) begin
    base_q <= base_i;
    size_q <= size_i;
    addr_q <= addr_i;
    desc_q <= desc;
    spent_q <= !rst_ni || step == StepIdle ? '0 : spent_q + 6'd1;
  end
  always_comb begin
    if (rst_ni && step != StepIdle) begin
      assume (base_i == base_q && size_i == size_q && addr_i == addr_q && desc == desc_q);
    end
  end

  logic [63:0] next;
  logic is_end, good_next, good_record;
  logic [64:0] window_end;
  assign window_end = 65'(base_i) + 65'(size_i) > {1'b1, 64'd0} ? {1'b1, 64'd0}
                                                               : 65'(base_i) + 65'(size_i);
  assign next = {desc.next_hi, desc.next_lo};
  assign is_end = desc.control.opcode == pim_isa_pkg::OpcodeEnd;
  assign good_next = is_end || window_pkg::has(base_i, size_i, next, 8'd64);
  assign good_record = !desc.control.record ||
      66'(addr_i) + 66'd128 <= 66'(base_i) + 66'(size_i) && addr_i < 64'hFFFF_FFFF_FFFF_FF81;

  always_comb begin
    if (rst_ni) begin
      if (done && code == pim_isa_pkg::CodeDone) begin
        assert (good_next && good_record);
        assert (is_end || next[5:0] == '0);
      end
      if (done) assert (code != pim_isa_pkg::CodePending);
      if (step != StepIdle) assert (32'(spent_q) < Patience);
      // What makes this inductive: how far the check is, and what it has found so far.
      assert (step <= StepDone);
      if (step != StepIdle) begin
        assert (u_dut.window_end_q == window_end && u_dut.next_end_q == 65'(next) + 65'd64);
        assert (u_dut.record_end_q == 65'(addr_i) + 65'd128);
        assert (u_dut.u_static.faults_q.off_next == (!is_end && next[5:0] != '0));
      end
      if (step > StepStatic && step < StepDone) begin
        assert (u_dut.code_q == pim_isa_pkg::CodeDone);
        assert (is_end || next[5:0] == '0);
        assert (u_dut.next_bad_q == (next < base_i || 65'(next) + 65'd64 > window_end));
        assert (u_dut.record_bad_q == (65'(addr_i) + 65'd128 > window_end));
      end
      if (step == StepOverlap) assert (good_next && good_record);
      unique case (step)
        StepIdle: assert (spent_q <= 6'd20);
        StepHost, StepOverlap, StepDone: assert (spent_q < 6'(step));
        default: assert (spent_q == 6'(step) - 6'd1);
      endcase
      cover (done && code == pim_isa_pkg::CodeDone && spent_q == 6'd19);
      cover (done && code == pim_isa_pkg::CodeHostRange);
    end
  end

endmodule
