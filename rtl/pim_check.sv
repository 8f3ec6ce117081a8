`default_nettype none

/// Validates a descriptor before anything is done with it.
///
/// The order of the checks is part of the interface: of several faults the first one here is
/// reported. Address ranges are hulls, from the first byte of the first row to the last byte of
/// the last row (pim_check_hull). `done_o` is up for one clock, at most 20 clocks after `start_i`;
/// `code_o` is CodeDone for a good descriptor.
module pim_check #(
  /// Bytes of device memory; at most 2^32.
  parameter longint unsigned Capacity = 512 * 1024 * 1024,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096,
  /// Rows of the left operand for a beat.
  parameter int unsigned RowsPerBeat = 1
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  input  wire logic                     start_i,
  /// Stays from `start_i` to `done_o`, like the two below.
  input  wire pim_isa_pkg::descriptor_t desc_i,
  /// Host address of the descriptor.
  input  wire logic [63:0]              desc_addr_i,
  /// Range of host memory that may be touched: first byte and bytes.
  input  wire logic [63:0]              window_base_i,
  input  wire logic [63:0]              window_size_i,
  output logic                          done_o,
  output      pim_isa_pkg::code_e       code_o
);

  localparam int unsigned BeatElems = BeatBytes / 2;
  localparam int unsigned BeatElemBits = $clog2(BeatElems);

  if (Capacity > 64'h1_0000_0000) begin : gen_check
    $error("%m: Capacity must be at most 2^32, addresses of device memory have 32 bits");
  end

  typedef logic [64:0] end_t;
  // Past the last byte of an operand that lies in device memory.
  typedef logic [32:0] device_end_t;

  // Clocks since the start. The four operands in device memory and the one in host memory follow
  // each other at `Pace`; the end of each is there `EndAfter` clocks after its turn, and a clock
  // later whether it is outside. A descriptor without operands goes on with its host addresses.
  typedef logic [4:0] step_t;
  localparam step_t Pace = 5'd3;
  localparam step_t EndAfter = 5'd4;
  localparam step_t StepIdle = 5'd0;
  localparam step_t StepStatic = 5'd1;
  localparam step_t IssueB = Pace;
  localparam step_t IssueC = IssueB + Pace;
  localparam step_t IssueY = IssueC + Pace;
  localparam step_t IssueHost = IssueY + Pace;
  localparam step_t StepA = EndAfter;
  localparam step_t StepB = IssueB + EndAfter;
  localparam step_t StepC = IssueC + EndAfter;
  localparam step_t StepY = IssueY + EndAfter;
  localparam step_t StepHostEnd = IssueHost + EndAfter;
  localparam step_t StepRelate = StepY + 5'd1;
  localparam step_t StepHost = 5'd18;
  localparam step_t StepOverlap = 5'd19;
  localparam step_t StepDone = 5'd20;

  step_t step_q, now;
  pim_isa_pkg::code_e code_q;
  logic begins;
  assign begins = start_i && step_q == StepIdle;
  assign now = begins ? 5'd0 : step_q;

  pim_isa_pkg::opcode_e opcode;
  pim_isa_pkg::broadcast_e broadcast;
  pim_isa_pkg::init_e init;
  logic is_copy, is_product, is_vector, has_right, has_initial;
  assign opcode = pim_isa_pkg::opcode_e'(desc_i.control.opcode);
  assign broadcast = pim_isa_pkg::broadcast_e'(desc_i.control.broadcast);
  assign init = pim_isa_pkg::init_e'(desc_i.control.init);
  assign is_copy = pim_isa_pkg::is_copy(opcode);
  assign is_product = pim_isa_pkg::is_product(opcode);
  assign is_vector = pim_isa_pkg::is_vector(opcode);
  assign has_right = is_product || pim_isa_pkg::is_elementwise(opcode);
  assign has_initial = is_product && init != pim_isa_pkg::InitZero;

  pim_isa_pkg::code_e static_code;

  pim_check_static #(
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .AccGroups(AccGroups),
    .ScalarDepth(ScalarDepth),
    .RowsPerBeat(RowsPerBeat)
  ) u_static (
    .clk_i,
    .sample_i(begins),
    .desc_i,
    .code_o(static_code)
  );

  // ---- hulls ----------------------------------------------------------------------------
  logic issue;
  pim_pkg::operand_e operand;
  end_t hull_end;

  always_comb begin
    issue = begins;
    operand = pim_pkg::OpA;
    unique case (step_q)
      StepStatic: begin
        issue = 1'b1;
        operand = pim_pkg::OpSize;
      end
      IssueB: begin
        issue = 1'b1;
        operand = pim_pkg::OpB;
      end
      IssueC: begin
        issue = 1'b1;
        operand = pim_pkg::OpC;
      end
      IssueY: begin
        issue = 1'b1;
        operand = pim_pkg::OpY;
      end
      IssueHost: begin
        issue = 1'b1;
        operand = pim_pkg::OpHost;
      end
      default: ;
    endcase
  end

  pim_check_hull #(
    .AtomBytes(AtomBytes),
    .BeatBytes(BeatBytes),
    .ScalarDepth(ScalarDepth)
  ) u_hull (
    .clk_i,
    .rst_ni,
    .desc_i,
    .issue_i(issue),
    .operand_i(operand),
    .end_o(hull_end)
  );

  // Whether the operand whose end is there lies in device memory at all.
  logic exists;
  always_comb begin
    unique case (step_q)
      StepA: exists = opcode != pim_isa_pkg::OpcodeCopyIn;
      StepB: exists = has_right;
      StepC: exists = has_initial;
      default: exists = opcode != pim_isa_pkg::OpcodeCopyOut;
    endcase
  end

  device_end_t a_end_q, b_end_q, c_end_q, y_end_q;
  logic outside_q;  // the last one ends behind the device memory

  always_ff @(posedge clk_i) begin
    if (step_q inside {StepA, StepB, StepC, StepY}) begin
      outside_q <= exists && hull_end > 65'(Capacity);
    end
    if (step_q == StepA) a_end_q <= 33'(hull_end);
    if (step_q == StepB) b_end_q <= 33'(hull_end);
    if (step_q == StepC) c_end_q <= 33'(hull_end);
    if (step_q == StepY) y_end_q <= 33'(hull_end);
  end

  // ---- host side ------------------------------------------------------------------------
  localparam end_t LastAddress = {1'b1, 64'd0};

  end_t window_end_q, next_end_q, record_end_q;
  logic next_bad_q, record_bad_q, host_first_bad_q, host_end_bad_q, host_bad;

  // A window that reaches past the last address ends there: no transfer may wrap.
  function automatic end_t window_end();
    window_end = 65'(window_base_i) + 65'(window_size_i);
    if (window_end[64]) window_end = LastAddress;
  endfunction

  always_ff @(posedge clk_i) begin
    if (begins) begin
      window_end_q <= window_end();
      next_end_q <= 65'({desc_i.next_hi, desc_i.next_lo}) + 65'd64;
      record_end_q <= 65'(desc_addr_i) + 65'd128;
    end
    if (step_q == StepStatic) begin
      next_bad_q <= {desc_i.next_hi, desc_i.next_lo} < window_base_i || next_end_q > window_end_q;
      record_bad_q <= record_end_q > window_end_q;
      host_first_bad_q <= {desc_i.host_hi, desc_i.host_lo} < window_base_i;
    end
    if (step_q == StepHostEnd) host_end_bad_q <= hull_end > window_end_q;
  end

  assign host_bad = (opcode != pim_isa_pkg::OpcodeEnd && next_bad_q) ||
                    (desc_i.control.record && record_bad_q) ||
                    (is_copy && (host_first_bad_q || host_end_bad_q));

  // ---- overlaps -------------------------------------------------------------------------
  /// How the result lies to the operands.
  typedef struct packed {
    logic rows_meet;         // one row of the result reaches into the next
    logic a_before, a_after, a_same;  // the operand begins before the result ends; ends after
    logic b_before, b_after, b_same;  // the result begins; begins where the result does, with
    logic c_before, c_after, c_same;  // the same stride
  } relations_t;
  relations_t relations_q;

  // Bytes of a row of the result.
  function automatic logic [34:0] row_bytes();
    logic [34:0] columns;
    columns = ((35'(desc_i.cols) + 35'(BeatElems - 1)) >> BeatElemBits) << BeatElemBits;
    row_bytes = is_product && desc_i.control.out_f32 ? columns << 2 : columns << 1;
    if (is_copy) row_bytes = 35'(desc_i.inner);
  endfunction

  logic [34:0] row_bytes_q;

  function automatic relations_t relations();
    relations.rows_meet = desc_i.rows != 32'd1 && 35'(desc_i.stride_y) < row_bytes_q;
    relations.a_before = 33'(desc_i.addr_a) < y_end_q;
    relations.a_after = 33'(desc_i.addr_y) < a_end_q;
    relations.a_same = desc_i.addr_a == desc_i.addr_y && desc_i.stride_a == desc_i.stride_y;
    relations.b_before = 33'(desc_i.addr_b) < y_end_q;
    relations.b_after = 33'(desc_i.addr_y) < b_end_q;
    relations.b_same = desc_i.addr_b == desc_i.addr_y && desc_i.stride_b == desc_i.stride_y;
    relations.c_before = 33'(desc_i.host_lo) < y_end_q;
    relations.c_after = 33'(desc_i.addr_y) < c_end_q;
    relations.c_same = desc_i.host_lo == desc_i.addr_y && desc_i.host_hi == desc_i.stride_y;
  endfunction

  always_ff @(posedge clk_i) begin
    if (step_q == StepStatic) row_bytes_q <= row_bytes();
    if (step_q == StepRelate) relations_q <= relations();
  end

  // A vector operation may work in place, and so may a sum of binary32 on its initial value.
  logic overlap;
  always_comb begin
    overlap = 1'b0;
    if (is_copy || is_product || is_vector) overlap = relations_q.rows_meet;
    if (is_product || is_vector) begin
      overlap |= relations_q.a_before && relations_q.a_after && !(is_vector && relations_q.a_same);
      overlap |= has_right && relations_q.b_before && relations_q.b_after &&
          !(is_vector && broadcast == pim_isa_pkg::BroadcastNone && relations_q.b_same);
      overlap |= has_initial && relations_q.c_before && relations_q.c_after &&
          !(init == pim_isa_pkg::InitF32 && desc_i.control.out_f32 && relations_q.c_same);
    end
  end

  // ---- verdict --------------------------------------------------------------------------
  assign done_o = step_q == StepDone;
  assign code_o = code_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      step_q <= StepIdle;
      code_q <= pim_isa_pkg::CodePending;
    end else begin
      if (begins || step_q != StepIdle) step_q <= now + 5'd1;
      unique case (step_q)
        StepStatic: begin
          code_q <= static_code;
          if (static_code != pim_isa_pkg::CodeDone) step_q <= StepDone;
          else if (!is_copy && !is_product && !is_vector) step_q <= StepHost;
        end
        StepA + 5'd1, StepB + 5'd1, StepC + 5'd1, StepY + 5'd1: if (outside_q) begin
          code_q <= pim_isa_pkg::CodeRange;
          step_q <= StepDone;
        end
        StepHost: if (host_bad) begin
          code_q <= pim_isa_pkg::CodeHostRange;
          step_q <= StepDone;
        end
        StepOverlap: if (overlap) code_q <= pim_isa_pkg::CodeOverlap;
        StepDone: step_q <= StepIdle;
        default: ;
      endcase
    end
  end

endmodule

`default_nettype wire
