`default_nettype none

/// One arithmetic lane: a fused bfloat16 x bfloat16 + binary32 unit and its accumulators.
///
/// Arithmetic (bit-exact contract of the device):
/// - the product of two bfloat16 numbers is exact; the sum with the binary32 accumulator is
///   rounded once, to nearest even; subnormal operands and results are kept;
/// - any NaN result of an arithmetic operation is 32'h7FC00000; 0 * inf and inf - inf are NaN;
/// - an exact zero sum of opposite signs is +0;
/// - max(v, 0) is +0 for negative numbers and v for all others, -0 included.
/// - an integer (LaneMacI, LaneMaczI) is a significand as it is, with a constant exponent;
/// - LaneScale multiplies a part of the significand of what was read last, as it is, by a bfloat16;
///   an infinity and a NaN count as they are, a subnormal bfloat16 is a zero.
/// Loads (LaneLoad, LaneLoadF32, LaneSplat) store their bits as they are, NaN payloads included.
///
/// A pipeline of `Depth` (4) clocks, one operation a clock:
///   1 multiply; compare the exponents, choose who moves; decide what needs no arithmetic
///   2 align, add
///   3 normalise by whole bytes
///   4 normalise by bits, round, write the accumulator
/// The accumulator is read in clock 1 and written at the end of clock 4: an operation presented
/// in cycle n must not meet, as operation or read, its own accumulator in n+1..n+3. The control
/// keeps LaneLatency clocks between the two; an assertion here watches it. A read in cycle n
/// returns what the accumulator held before the operation of cycle n and is valid in n+1. No
/// back-pressure. Neither pipeline nor accumulators have a reset: what is in flight at power-up
/// ends in accumulators that hold no defined value yet.
///
/// Each stage computes under its own enable in words of at most 64 bits: Verilator then evaluates
/// it only in cycles that use it, in machine words.
module pim_lane #(
  /// Accumulators, a power of two of at least 2.
  parameter int unsigned Groups = 16,
  /// 1: it has the operations of integers, LaneMacI, LaneMaczI and LaneScale.
  parameter bit Integers = 1'b1
) (
  /// Clock.
  input  wire logic                      clk_i,
  /// An operation for this lane in this cycle.
  input  wire logic                      valid_i,
  /// The operation; LaneLoadF32 is presented only to the lanes it loads.
  input  wire pim_pkg::lane_op_e         op_i,
  /// Accumulator the operation works on.
  input  wire logic [$clog2(Groups)-1:0] group_i,
  /// bfloat16 operand that all lanes share.
  input  wire logic [15:0]               scalar_i,
  /// bfloat16 operand of this lane.
  input  wire logic [15:0]               vector_i,
  /// binary32 word of LaneLoadF32 for this lane.
  input  wire logic [31:0]               word_i,
  /// Read an accumulator into the output registers.
  input  wire logic                      read_i,
  /// Accumulator to read.
  input  wire logic [$clog2(Groups)-1:0] read_group_i,
  /// Part of its significand that LaneScale takes: bits 23:16, 15:8 or 7:0.
  input  wire logic [1:0]                read_part_i,
  /// The accumulator last read, rounded to bfloat16 (nearest even; NaN becomes 16'h7FC0).
  output logic      [15:0]               read_bf16_o,
  /// The accumulator last read, as it is.
  output logic      [31:0]               read_f32_o
);
  /*verilator no_inline_module*/

  if (Groups < 2 || (Groups & (Groups - 1)) != 0) begin : gen_check_groups
    $fatal(0, "%m: Groups must be a power of two of at least 2, is %0d", Groups);
  end

  localparam int unsigned GroupBits = $clog2(Groups);
  localparam logic [31:0] CanonicalNan = 32'h7FC0_0000;

  // Exponents below are those of the least significant bit of a significand, biased by 268, so
  // that all of them are positive: the product of two fields ea, eb (1 for subnormals) weighs
  // ea + eb, a binary32 with field ec weighs ec + 118, and the smallest subnormal 119.
  localparam logic [9:0] AddendBias = 10'd118;

  // A bfloat16 field whose significand is an integer.
  localparam logic [7:0] IntegerPlace = 8'd134;

  // From the first distance on, and beyond the second one, the smaller operand is under a quarter of
  // the last place of the larger one, which is representable as it is. A product whose weight is so
  // much larger than the addend's has one normal factor at least, so it is at least 2**7 there.
  localparam logic [9:0] MaxProductShift = 10'd42;
  localparam logic [9:0] MaxAddendShift = 10'd18;

  // A sum whose last place has this weight is a subnormal with its leading one in bit 58 of the
  // adder. Above, the difference is the room to move left before the subnormals begin.
  localparam logic [8:0] LeastWeight = 9'd84;

  /// The exponent field of a number: that of a subnormal counts as 1.
  function automatic logic [7:0] place(input logic [7:0] field);
    place = {field[7:1], field[0] || field == '0};
  endfunction

  /// Eight bits of the significand of a binary32; of what is not finite, the upper ones.
  function automatic logic [7:0] part_of(input logic [31:0] value, input logic [1:0] part);
    part_of = (part == 2'd0 || value[30:23] == '1) ? {value[30:23] != '0, value[22:16]}
        : (part == 2'd1) ? value[15:8] : value[7:0];
  endfunction

  /// a * b + c where one operand at least is infinite or NaN; whether a and b are zeros.
  function automatic logic [31:0] fma_special(input logic [15:0] a, input logic [15:0] b,
                                              input logic [31:0] c, input logic a_zero,
                                              input logic b_zero);
    logic a_max, b_max, c_max, product_sign, invalid;
    a_max = a[14:7] == '1;
    b_max = b[14:7] == '1;
    c_max = c[30:23] == '1;
    product_sign = a[15] ^ b[15];
    invalid = (a_max && a[6:0] != '0) || (b_max && b[6:0] != '0) || (c_max && c[22:0] != '0)
        || (a_max && b_zero) || (b_max && a_zero)
        || ((a_max || b_max) && c_max && product_sign != c[31]);
    if (invalid) fma_special = CanonicalNan;
    else if (c_max) fma_special = c;
    else fma_special = {product_sign, 8'hFF, 23'b0};
  endfunction

  /// The larger one of a bfloat16 and 0, as binary32.
  function automatic logic [31:0] relu(input logic [15:0] value);
    if (value[14:7] == '1 && value[6:0] != '0) relu = CanonicalNan;
    else if (value[15] && value[14:0] != '0) relu = '0;
    else relu = {value, 16'b0};
  endfunction

  logic [31:0] acc_q [Groups];

  // What goes from one stage to the next; the number is that of the stage that reads it. A
  // result that needs no arithmetic (loads, specials, zero products) passes by as `word`.
  logic valid_2_q, valid_3_q, valid_4_q;
  logic [GroupBits-1:0] group_2_q, group_3_q, group_4_q;
  logic bypass_2_q, bypass_3_q, bypass_4_q;
  logic [31:0] word_2_q, word_3_q, word_4_q;
  logic sign_2_q, sign_3_q, sign_4_q;
  logic [8:0] room_3_q, room_4_q;
  logic [5:0] distance_2_q;
  logic [15:0] product_2_q;
  logic [23:0] addend_2_q;
  logic [24:0] moving_2_q;
  logic [8:0] product_weight_2_q, addend_weight_2_q;
  logic product_leads_2_q, far_2_q, subtract_2_q;
  logic [58:0] magnitude_3_q;
  logic [6:0] stop_3_q, stop_4_q;
  logic [7:0] part_q;        // of what was read last: a part of its significand
  logic [8:0] part_place_q;  // the field of that, which may be negative
  logic [31:0] normal_4_q;
  logic sticky_4_q;

  always_ff @(posedge clk_i) begin
    {valid_4_q, valid_3_q, valid_2_q} <= {valid_3_q, valid_2_q, valid_i};
  end

  // ---- 1: multiply, compare ---------------------------------------------------------------
  // One multiplier and one adder serve all arithmetic operations: only the first factor and
  // the addend differ. The addend -0 keeps the sign of a zero product.
  always_ff @(posedge clk_i) begin
    if (valid_i) begin : stage_1
      automatic logic scales = Integers && op_i == pim_pkg::LaneScale;
      automatic logic whole = Integers && op_i inside {pim_pkg::LaneMacI, pim_pkg::LaneMaczI};
      automatic logic [31:0] held = acc_q[group_i];
      automatic logic times = op_i == pim_pkg::LaneMul;  // what is held
      automatic logic [15:0] a = times ? held[31:16] : scales ? read_f32_o[31:16] : scalar_i;
      automatic logic [15:0] b = vector_i;
      automatic logic [31:0] c = (op_i == pim_pkg::LaneMac || scales
          || (whole && op_i == pim_pkg::LaneMacI)) ? held
          : {!(op_i == pim_pkg::LaneMacz || whole), 31'b0};
      // The multiplier waits for hidden bits: found before the choice of a factor.
      automatic logic hidden = times ? held[30:23] != '0 : scalar_i[14:7] != '0;
      automatic logic [7:0] factor = scales ? part_q : {hidden, a[6:0]};
      // An integer has zeros above its bit 7.
      automatic logic [15:0] product = {8'b0, factor} * {8'b0, b[14:7] != '0, b[6:0]};
      automatic logic a_zero = factor == '0;
      automatic logic b_zero = b[14:7] == '0 && (scales || b[6:0] == '0);
      automatic logic [23:0] addend = {c[30:23] != '0, c[22:0]};
      // How far the product's weight is above the addend's. What is held comes last: the field of
      // a factor, or that of the addend, less. What a subnormal counts more are ones beside.
      automatic logic [9:0] eb = {2'b0, whole ? IntegerPlace : b[14:7]};
      automatic logic [9:0] ea = times ? '1
          : scales ? {part_place_q[8], part_place_q} : {2'b0, place(scalar_i[14:7])};
      automatic logic [9:0] late = times ? {2'b0, held[30:23]} : ~{2'b0, c[30:23]};
      automatic logic [1:0] ones = {times ? held[30:23] == '0 : c[30:23] != '0, eb == '0};
      automatic logic [9:0] over = pim_pkg::sum_of(eb, ea, late, ones, -AddendBias - MaxProductShift);
      automatic logic [9:0] ahead = pim_pkg::sum_of(eb, ea, late, ones, -AddendBias);
      automatic logic [9:0] under = pim_pkg::sum_of(eb, ea, late, ones, MaxAddendShift - AddendBias);
      automatic logic product_leads = $signed(ahead) >= 0;
      automatic logic product_far = $signed(over) >= 0;
      automatic logic addend_far = $signed(under) < 0;
      automatic logic product_sign = a[15] ^ b[15];

      group_2_q <= group_i;
      subtract_2_q <= product_sign ^ c[31];
      product_2_q <= product;
      addend_2_q <= addend;
      product_weight_2_q <= {1'b0, whole ? IntegerPlace : place(b[14:7])}
          + (scales ? part_place_q : {1'b0, place(a[14:7])});
      addend_weight_2_q <= {1'b0, place(c[30:23])} + AddendBias[8:0];
      // The operand of the larger weight moves left until both have the same one.
      product_leads_2_q <= product_leads;
      far_2_q <= product_leads ? product_far : addend_far;
      if (product_leads) begin
        sign_2_q <= product_sign;
        moving_2_q <= {9'b0, product};
        distance_2_q <= product_far ? MaxProductShift[5:0] : ahead[5:0];
      end else begin
        sign_2_q <= c[31];
        // One place of the way here, the others are the complement of the difference.
        moving_2_q <= {addend, 1'b0};
        distance_2_q <= addend_far ? MaxAddendShift[5:0] - 6'd1 : ~ahead[5:0];
      end

      bypass_2_q <= 1'b1;
      case (op_i)
        pim_pkg::LaneLoad:    word_2_q <= {vector_i, 16'b0};
        pim_pkg::LaneLoadF32: word_2_q <= word_i;
        pim_pkg::LaneSplat:   word_2_q <= {scalar_i, 16'b0};
        pim_pkg::LaneRelu:    word_2_q <= relu(vector_i);
        default: begin
          if (a[14:7] == '1 || b[14:7] == '1 || c[30:23] == '1) begin
            word_2_q <= fma_special(a, b, c, a_zero, b_zero);
          end else begin
            // A zero product must not reach the alignment: its weight says nothing about its
            // size.
            word_2_q <= (c[30:0] == '0) ? {product_sign && c[31], 31'b0} : c;
            bypass_2_q <= a_zero || b_zero;
          end
        end
      endcase
    end
  end

  // ---- 2: align, add ----------------------------------------------------------------------
  always_ff @(posedge clk_i) begin
    if (valid_2_q) begin : stage_2
      // An operand too far behind is dropped. Behind an addend a one stands in for it, so that
      // a product that alone is not zero keeps its sign where the sum underflows.
      automatic logic [23:0] standing = far_2_q ? {23'b0, !product_leads_2_q}
          : product_leads_2_q ? addend_2_q : {8'b0, product_2_q};
      automatic logic [8:0] weight = !far_2_q
          ? (product_leads_2_q ? addend_weight_2_q : product_weight_2_q)
          : product_leads_2_q ? product_weight_2_q - MaxProductShift[8:0]
                              : addend_weight_2_q - MaxAddendShift[8:0];
      automatic logic [8:0] room = weight - LeastWeight;
      automatic logic [58:0] moved = {34'b0, moving_2_q} << distance_2_q;
      automatic logic [59:0] sum = subtract_2_q ? {1'b0, moved} - {36'b0, standing}
                                                : {1'b0, moved} + {36'b0, standing};
      // The sum is negative only where the moved operand is the smaller one, of 24 bits then.
      automatic logic [23:0] opposite = standing - moved[23:0];
      group_3_q <= group_2_q;
      bypass_3_q <= bypass_2_q;
      word_3_q <= word_2_q;
      room_3_q <= room;
      stop_3_q <= (room[8:6] == '0) ? pim_pkg::stop_at(room[5:3]) : '0;
      sign_3_q <= sign_2_q ^ sum[59];
      magnitude_3_q <= sum[59] ? {35'b0, opposite} : sum[58:0];
    end
  end

  // ---- 3: normalise by bytes --------------------------------------------------------------
  // Left until the leading one is in the top byte, or until less than a byte of room is left:
  // `stop` counts as a one where the room ends.
  always_ff @(posedge clk_i) begin
    if (valid_3_q) begin : stage_3
      automatic logic [63:0] bytes = {magnitude_3_q, 5'b0};
      automatic logic [7:0] used = {bytes[63:56] != '0, bytes[55:48] != '0, bytes[47:40] != '0,
                                    bytes[39:32] != '0, bytes[31:24] != '0, bytes[23:16] != '0,
                                    bytes[15:8] != '0, bytes[7:0] != '0};
      automatic logic [2:0] moved = pim_pkg::leading_zeros(used[7:1] | stop_3_q);
      bytes = bytes << {moved, 3'b0};
      group_4_q <= group_3_q;
      // A sum of opposite signs that is exactly zero is +0.
      bypass_4_q <= bypass_3_q || used == '0;
      word_4_q <= bypass_3_q ? word_3_q : '0;
      sign_4_q <= sign_3_q;
      room_4_q <= {room_3_q[8:3] - {3'b0, moved}, room_3_q[2:0]};
      stop_4_q <= (room_3_q[8:3] == {3'b0, moved}) ? pim_pkg::stop_at(room_3_q[2:0]) : '0;
      normal_4_q <= bytes[63:32];
      sticky_4_q <= (used[3:0] & (4'b1111 >> moved)) != '0;
    end
  end

  // ---- 4: normalise by bits, round, write -------------------------------------------------
  always_ff @(posedge clk_i) begin
    if (valid_4_q) begin : stage_4
      automatic logic [2:0] moved = pim_pkg::leading_zeros(normal_4_q[31:25] | stop_4_q);
      automatic logic [31:0] normal = normal_4_q << moved;
      // What is left of the room is the exponent field, less the hidden bit. This one, where
      // there is one, carries into the field, and so does a rounding to the next binade.
      automatic logic [8:0] room = room_4_q - {6'b0, moved};
      automatic logic up = normal[7] && (normal[8] || normal[6:0] != '0 || sticky_4_q);
      automatic logic [30:0] rounded =
          {room[7:0], 23'b0} + {7'b0, normal[31:8]} + {30'b0, up};
      if (bypass_4_q) acc_q[group_4_q] <= word_4_q;
      else if (room >= 9'd254) acc_q[group_4_q] <= {sign_4_q, 8'hFF, 23'b0};
      else acc_q[group_4_q] <= {sign_4_q, rounded};
    end
  end

  // ---- read -------------------------------------------------------------------------------
  always_ff @(posedge clk_i) begin
    if (read_i) begin
      read_f32_o <= acc_q[read_group_i];
      read_bf16_o <= pim_pkg::round_bf16(acc_q[read_group_i]);
      if (Integers) begin
        part_q <= part_of(acc_q[read_group_i], read_part_i);
        part_place_q <= {1'b0, place(acc_q[read_group_i][30:23])} - {4'b0, read_part_i, 3'b0};
      end
    end
  end

`ifndef SYNTHESIS
  // Accumulators that an operation in flight will write. What was in the pipeline at power-up is
  // none, nor what came with the first edge: a simulation that begins with random values may begin
  // with an edge, before any reset.
  logic [3:0] powered_q;
  initial powered_q = '0;
  always_ff @(posedge clk_i) powered_q <= {powered_q[2:0], 1'b1};

  function automatic logic in_flight(input logic [GroupBits-1:0] group);
    in_flight = powered_q[1] && ((valid_2_q && group_2_q == group)
        || (powered_q[2] && valid_3_q && group_3_q == group)
        || (powered_q[3] && valid_4_q && group_4_q == group));
  endfunction

  always_ff @(posedge clk_i) begin
    assert (!valid_i || !in_flight(group_i))
    else $error("%m: operation on accumulator %0d before the last one on it is done", group_i);
    assert (!read_i || !in_flight(read_group_i))
    else $error("%m: read of accumulator %0d before the operation on it is done", read_group_i);
  end
`endif

endmodule

`default_nettype wire
