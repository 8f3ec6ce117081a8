/// pim_check: a descriptor that passes leads inside the host window, and every check ends.
///
/// `Patience` is the bound that pim_check states. Assumed: the window stays while a check runs.
/// `OneRow`, for the covers: copies of one row, so that the search need not multiply.
module pim_check_formal #(
  parameter int unsigned Patience = 24,
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

  logic done;
  pim_isa_pkg::code_e code;
  pim_check u_dut (
    .clk_i, .rst_ni, .start_i, .desc_i, .desc_addr_i(addr_i), .window_base_i(base_i),
    .window_size_i(size_i), .done_o(done), .code_o(code)
  );

  if (OneRow) begin : gen_one_row
    always_comb begin
      assume (desc_i.control.opcode == pim_isa_pkg::OpcodeCopyIn);
      assume (desc_i.rows == 32'd1 && desc_i.inner == 32'd64 && desc_i.cols == '0);
      assume (desc_i.stride_a == '0 && desc_i.stride_b == '0 && desc_i.stride_y == '0);
      assume (desc_i.tile == '0);
    end
  end

  // Numbers of the checker's states and operands, in their order.
  localparam logic [3:0] StIdle = 4'd0, StStatic = 4'd1, StSize = 4'd2, StRows = 4'd3,
      StHull = 4'd4, StSum = 4'd5, StHost = 4'd6, StOverlap = 4'd7, StDone = 4'd8;
  logic [3:0] state;
  logic [2:0] operand;
  assign state = u_dut.state_q;
  assign operand = u_dut.operand_q;

  pim_isa_pkg::descriptor_t desc_q;
  logic [63:0] base_q, size_q, addr_q;
  logic [5:0] spent_q;  // clocks since the start
  always_ff @(posedge clk_i) begin
    base_q <= base_i;
    size_q <= size_i;
    addr_q <= addr_i;
    if (state == StIdle && start_i) desc_q <= desc_i;
    spent_q <= !rst_ni || state == StIdle ? '0 : spent_q + 6'd1;
  end
  always_comb begin
    if (rst_ni && state != StIdle) begin
      assume (base_i == base_q && size_i == size_q && addr_i == addr_q);
    end
  end

  logic [63:0] next;
  logic good_next, good_record;
  assign next = {desc_q.next_hi, desc_q.next_lo};
  assign good_next = desc_q.control.opcode == pim_isa_pkg::OpcodeEnd ||
      window_pkg::has(base_i, size_i, next, 8'd64);
  assign good_record = !desc_q.control.record ||
      66'(addr_i) + 66'd128 <= 66'(base_i) + 66'(size_i) && addr_i < 64'hFFFF_FFFF_FFFF_FF81;

  always_comb begin
    if (rst_ni) begin
      if (done && code == pim_isa_pkg::CodeDone) begin
        assert (good_next && good_record);
        assert (desc_q.control.opcode == pim_isa_pkg::OpcodeEnd || next[5:0] == '0);
      end
      if (done) assert (code != pim_isa_pkg::CodePending);
      assert (32'(spent_q) < Patience);
      // What makes this inductive: how far the check is, and what it has found so far.
      assert (state <= StDone && operand <= 3'd4);
      if (state != StIdle) assert (u_dut.desc_q == desc_q);
      if (state >= StSize && state < StDone) begin
        assert (u_dut.code_q == pim_isa_pkg::CodeDone);
        assert (desc_q.control.opcode == pim_isa_pkg::OpcodeEnd || next[5:0] == '0);
      end
      if (state == StOverlap) assert (good_next && good_record);
      unique case (state)
        StStatic: assert (spent_q == 6'd0 && operand == '0);
        StSize: assert (spent_q == 6'd1 && operand == '0);
        StRows, StHull, StSum: begin
          assert (32'(spent_q) == 32'd2 + 32'd3 * 32'(operand) + 32'(state) - 32'(StRows));
        end
        StHost: assert (spent_q <= 6'd17);
        StOverlap: assert (spent_q <= 6'd18);
        StDone: assert (spent_q <= 6'd19);
        default: assert (spent_q <= 6'd20);
      endcase
      cover (done && code == pim_isa_pkg::CodeDone && spent_q == 6'd19);
      cover (done && code == pim_isa_pkg::CodeHostRange);
    end
  end

endmodule
