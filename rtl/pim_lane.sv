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
  /// The magnitude is not 0 and the weight at least 100.
  function automatic logic [31:0] round_f32(input logic sign, input logic [58:0] magnitude,
                                            input logic [8:0] weight);
    logic [58:0] normal;
    logic [8:0] room;
    logic [33:0] packed_bits;
    // Left until the leading one is in the top bit, or until the last place is that of the
    // subnormals when this comes first. What is left of the room is the exponent field.
    normal = magnitude;
    room = weight - 9'd84;
    if (normal[58:27] == '0 && room >= 9'd32) begin
      normal = {normal[26:0], 32'b0};
      room = room - 9'd32;
    end
    if (normal[58:43] == '0 && room >= 9'd16) begin
      normal = {normal[42:0], 16'b0};
      room = room - 9'd16;
    end
    if (normal[58:51] == '0 && room >= 9'd8) begin
      normal = {normal[50:0], 8'b0};
      room = room - 9'd8;
    end
    if (normal[58:55] == '0 && room >= 9'd4) begin
      normal = {normal[54:0], 4'b0};
      room = room - 9'd4;
    end
    if (normal[58:57] == '0 && room >= 9'd2) begin
      normal = {normal[56:0], 2'b0};
      room = room - 9'd2;
    end
    if (!normal[58] && room >= 9'd1) begin
      normal = {normal[57:0], 1'b0};
      room = room - 9'd1;
    end
    // The hidden bit, where there is one, carries into the exponent field, and so does a
    // rounding to the next binade.
    packed_bits = {2'b0, room, 23'b0} + {10'b0, normal[58:35]};
    if (normal[34] && (normal[35] || normal[33:0] != '0)) packed_bits = packed_bits + 34'd1;
    if (packed_bits[33:23] >= 11'd255) packed_bits = {3'b0, 8'hFF, 23'b0};
    round_f32 = {sign, packed_bits[30:0]};
  endfunction

  /// a * b + c, rounded once.
  function automatic logic [31:0] fma(input logic [15:0] a, input logic [15:0] b,
                                      input logic [31:0] c);
    /*verilator no_inline_task*/
    logic [15:0] product;
    logic [23:0] addend, narrow;
    logic [8:0] product_weight, addend_weight, distance, weight;
    logic [58:0] wide;
    logic [59:0] sum;
    logic product_sign, sign, subtract;
    product = {8'b0, a[14:7] != '0, a[6:0]} * {8'b0, b[14:7] != '0, b[6:0]};
    addend = {c[30:23] != '0, c[22:0]};
    product_weight = {1'b0, a[14:7]} + {1'b0, b[14:7]} + {8'b0, a[14:7] == '0}
        + {8'b0, b[14:7] == '0};
    addend_weight = {1'b0, c[30:23]} + AddendBias + {8'b0, c[30:23] == '0};
    product_sign = a[15] ^ b[15];
    subtract = product_sign ^ c[31];

    if (a[14:7] == '1 || b[14:7] == '1 || c[30:23] == '1) begin
      fma = fma_special(a, b, c);
    end else if (product == '0) begin
      // A zero product must not reach the alignment: its weight says nothing about its size.
      fma = (c[30:0] == '0) ? {product_sign && c[31], 31'b0} : c;
    end else begin
      // The operand of the larger weight moves left until both have the same one.
      if (product_weight >= addend_weight) begin
        sign = product_sign;
        weight = addend_weight;
        distance = product_weight - addend_weight;
        wide = {43'b0, product};
        narrow = addend;
        if (distance > MaxProductShift) begin
          weight = product_weight - MaxProductShift;
          distance = MaxProductShift;
          narrow = '0;
        end
      end else begin
        sign = c[31];
        weight = product_weight;
        distance = addend_weight - product_weight;
        wide = {35'b0, addend};
        narrow = {8'b0, product};
        if (distance > MaxAddendShift) begin
          // Not zero, so that the product keeps its sign where the sum underflows.
          weight = addend_weight - MaxAddendShift;
          distance = MaxAddendShift;
          narrow = 24'd1;
        end
      end
      wide = wide << distance[5:0];
      sum = subtract ? {1'b0, wide} - {36'b0, narrow} : {1'b0, wide} + {36'b0, narrow};
      if (sum[59]) begin
        sum = -sum;
        sign = !sign;
      end
      fma = (sum == '0) ? '0 : round_f32(sign, sum[58:0], weight);
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
