/// One arithmetic lane: a fused bfloat16 x bfloat16 + binary32 unit and its accumulators.
///
/// Arithmetic (bit-exact contract of the device):
/// - the product of two bfloat16 numbers is exact; the sum with the binary32 accumulator is
///   rounded once, to nearest even; subnormal operands and results are kept;
/// - any NaN result of an arithmetic operation is 32'h7FC00000; 0 * inf and inf - inf are NaN;
/// - an exact zero sum of opposite signs is +0.
/// Loads (LaneLoad, LaneLoadF32, LaneSplat) store their bits as they are, NaN payloads included.
///
/// Latency: an operation presented in cycle n is in the accumulator after the edge that ends
/// cycle n, so a dependent operation or a read may follow in n+1. The sequencer keeps dependent
/// operations LaneLatency apart all the same, so that a pipelined lane can replace this one
/// without a change in bits or cycles. A read in cycle n returns what the accumulator held
/// before the operation of cycle n and is valid in n+1. No back-pressure. The accumulators have
/// no reset: a set holds no defined value before its first write.
///
/// The arithmetic is in functions of at most 64-bit values called under the enable: Verilator
/// then evaluates it only in cycles that use it, in machine words.
module pim_lane #(
  /// Accumulators, a power of two of at least 2.
  parameter int unsigned Groups = 16
) (
  /// Clock.
  input  logic                      clk_i,
  /// An operation for this lane in this cycle.
  input  logic                      valid_i,
  /// The operation; LaneLoadF32 is presented only to the lanes it loads.
  input  pim_pkg::lane_op_e         op_i,
  /// Accumulator the operation works on.
  input  logic [$clog2(Groups)-1:0] group_i,
  /// bfloat16 operand that all lanes share.
  input  logic [15:0]               scalar_i,
  /// bfloat16 operand of this lane.
  input  logic [15:0]               vector_i,
  /// binary32 word of LaneLoadF32 for this lane.
  input  logic [31:0]               word_i,
  /// Read an accumulator into the output registers.
  input  logic                      read_i,
  /// Accumulator to read.
  input  logic [$clog2(Groups)-1:0] read_group_i,
  /// The accumulator last read, rounded to bfloat16 (nearest even; NaN becomes 16'h7FC0).
  output logic [15:0]               read_bf16_o,
  /// The accumulator last read, as it is.
  output logic [31:0]               read_f32_o
);
  /*verilator no_inline_module*/

  if (Groups < 2 || (Groups & (Groups - 1)) != 0) begin : gen_check_groups
    $fatal(0, "%m: Groups must be a power of two of at least 2, is %0d", Groups);
  end

  localparam logic [31:0] CanonicalNan = 32'h7FC0_0000;

  // Exponents below are those of the least significant bit of a significand, biased by 268, so
  // that all of them are positive: the product of two fields ea, eb (1 for subnormals) weighs
  // ea + eb, a binary32 with field ec weighs ec + 118, and the smallest subnormal 119.
  localparam logic [8:0] AddendBias = 9'd118;

  // Beyond these distances the smaller operand is under a quarter of the last place of the
  // larger one, which is representable as it is. A product whose weight is so much larger than
  // the addend's has one normal factor at least, so it is at least 2**7 there.
  localparam logic [8:0] MaxProductShift = 9'd42;
  localparam logic [8:0] MaxAddendShift = 9'd18;

  /// Count of leading zeros of a value that is not 0.
  function automatic logic [5:0] leading_zeros(input logic [63:0] value);
    logic [63:0] rest;
    rest = value;
    leading_zeros = '0;
    if (rest[63:32] == '0) begin
      leading_zeros[5] = 1'b1;
      rest = {rest[31:0], 32'b0};
    end
    if (rest[63:48] == '0) begin
      leading_zeros[4] = 1'b1;
      rest = {rest[47:0], 16'b0};
    end
    if (rest[63:56] == '0) begin
      leading_zeros[3] = 1'b1;
      rest = {rest[55:0], 8'b0};
    end
    if (rest[63:60] == '0) begin
      leading_zeros[2] = 1'b1;
      rest = {rest[59:0], 4'b0};
    end
    if (rest[63:62] == '0) begin
      leading_zeros[1] = 1'b1;
      rest = {rest[61:0], 2'b0};
    end
    leading_zeros[0] = !rest[63];
  endfunction

  /// a * b + c where one operand at least is infinite or NaN.
  function automatic logic [31:0] fma_special(input logic [15:0] a, input logic [15:0] b,
                                              input logic [31:0] c);
    logic a_max, b_max, c_max, product_sign, invalid;
    a_max = a[14:7] == '1;
    b_max = b[14:7] == '1;
    c_max = c[30:23] == '1;
    product_sign = a[15] ^ b[15];
    invalid = (a_max && a[6:0] != '0) || (b_max && b[6:0] != '0) || (c_max && c[22:0] != '0)
        || (a_max && b[14:0] == '0) || (b_max && a[14:0] == '0)
        || ((a_max || b_max) && c_max && product_sign != c[31]);
    if (invalid) fma_special = CanonicalNan;
    else if (c_max) fma_special = c;
    else fma_special = {product_sign, 8'hFF, 23'b0};
  endfunction

  /// The value sign * magnitude * 2**(weight - 268) rounded to binary32, nearest even.
  /// The magnitude is not 0 and below 2**60, the weight at least 100.
  function automatic logic [31:0] round_f32(input logic sign, input logic [63:0] magnitude,
                                            input logic [8:0] weight);
    logic [5:0] zeros, shift;
    logic [8:0] room;
    logic [63:0] normal;
    logic [33:0] packed_bits;
    // The shift that brings the leading one to bit 63, or the last place to that of the
    // subnormals when this comes first: the exponent field then follows from the shift.
    zeros = leading_zeros(magnitude);
    room = weight - 9'd79;
    shift = (room < {3'b0, zeros}) ? room[5:0] : zeros;
    normal = magnitude << shift;
    // The hidden bit, where there is one, carries into the exponent field, and so does a
    // rounding to the next binade.
    packed_bits = {2'b0, room - {3'b0, shift}, 23'b0} + {10'b0, normal[63:40]};
    if (normal[39] && (normal[40] || normal[38:0] != '0)) packed_bits = packed_bits + 34'd1;
    if (packed_bits[33:23] >= 11'd255) packed_bits = {3'b0, 8'hFF, 23'b0};
    round_f32 = {sign, packed_bits[30:0]};
  endfunction

  /// a * b + c, rounded once.
  function automatic logic [31:0] fma(input logic [15:0] a, input logic [15:0] b,
                                      input logic [31:0] c);
    /*verilator no_inline_task*/
    logic [15:0] product;
    logic [23:0] addend;
    logic [8:0] product_weight, addend_weight, distance, weight;
    logic [63:0] wide_product, wide_addend, magnitude;
    logic product_sign, sign;
    product = {8'b0, a[14:7] != '0, a[6:0]} * {8'b0, b[14:7] != '0, b[6:0]};
    addend = {c[30:23] != '0, c[22:0]};
    product_weight = {1'b0, a[14:7]} + {1'b0, b[14:7]};
    if (a[14:7] == '0) product_weight = product_weight + 9'd1;
    if (b[14:7] == '0) product_weight = product_weight + 9'd1;
    addend_weight = {1'b0, c[30:23]} + AddendBias;
    if (c[30:23] == '0) addend_weight = addend_weight + 9'd1;
    product_sign = a[15] ^ b[15];

    if (a[14:7] == '1 || b[14:7] == '1 || c[30:23] == '1) begin
      fma = fma_special(a, b, c);
    end else if (product == '0) begin
      // A zero product must not reach the alignment: its weight says nothing about its size.
      fma = (c[30:0] == '0) ? {product_sign && c[31], 31'b0} : c;
    end else begin
      if (product_weight >= addend_weight) begin
        distance = product_weight - addend_weight;
        if (distance <= MaxProductShift) begin
          wide_product = {48'b0, product} << distance[5:0];
          wide_addend = {40'b0, addend};
          weight = addend_weight;
        end else begin
          wide_product = {48'b0, product} << MaxProductShift[5:0];
          wide_addend = '0;
          weight = product_weight - MaxProductShift;
        end
      end else begin
        distance = addend_weight - product_weight;
        if (distance <= MaxAddendShift) begin
          wide_product = {48'b0, product};
          wide_addend = {40'b0, addend} << distance[5:0];
          weight = product_weight;
        end else begin
          // What is left of the product: not zero, which keeps its sign if the sum underflows.
          wide_product = 64'd1;
          wide_addend = {40'b0, addend} << MaxAddendShift[5:0];
          weight = addend_weight - MaxAddendShift;
        end
      end
      if (product_sign == c[31]) begin
        sign = c[31];
        magnitude = wide_product + wide_addend;
      end else if (wide_product > wide_addend) begin
        sign = product_sign;
        magnitude = wide_product - wide_addend;
      end else begin
        sign = c[31];
        magnitude = wide_addend - wide_product;
      end
      fma = (magnitude == '0) ? '0 : round_f32(sign, magnitude, weight);
    end
  endfunction

  /// A binary32 rounded to bfloat16, nearest even.
  function automatic logic [15:0] round_bf16(input logic [31:0] value);
    /*verilator no_inline_task*/
    if (value[30:23] == '1 && value[22:0] != '0) round_bf16 = CanonicalNan[31:16];
    else if (value[15] && (value[16] || value[14:0] != '0)) round_bf16 = value[31:16] + 16'd1;
    else round_bf16 = value[31:16];
  endfunction

  logic [31:0] acc_q [Groups];

  // One multiplier and one adder serve all arithmetic operations: only the first factor and
  // the addend differ. The addend -0 keeps the sign of a zero product.
  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      case (op_i)
        pim_pkg::LaneLoad:    acc_q[group_i] <= {vector_i, 16'b0};
        pim_pkg::LaneLoadF32: acc_q[group_i] <= word_i;
        pim_pkg::LaneSplat:   acc_q[group_i] <= {scalar_i, 16'b0};
        default: begin
          acc_q[group_i] <= fma(
              (op_i == pim_pkg::LaneMul) ? acc_q[group_i][31:16] : scalar_i, vector_i,
              (op_i == pim_pkg::LaneMac) ? acc_q[group_i]
                  : {op_i != pim_pkg::LaneMacz, 31'b0});
        end
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (read_i) begin
      read_f32_o <= acc_q[read_group_i];
      read_bf16_o <= round_bf16(acc_q[read_group_i]);
    end
  end

endmodule
