`default_nettype none

/// Where the operands of a descriptor end: first byte + (rows - 1) x stride + bytes of a row.
///
/// A pipeline with one multiplier: `issue_i` names an operand, four clocks later `end_o` is the byte
/// after its last one. `OpSize` is no operand: its product is the bytes of the right operand of
/// a product up to its last block, which `OpB` takes when it comes two clocks later.
module pim_check_hull #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  /// Elements of the inner dimension of a product at most.
  parameter int unsigned ScalarDepth = 4096
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  /// Stays from the first `issue_i` to the last `end_o`.
  input  wire pim_isa_pkg::descriptor_t desc_i,
  input  wire logic                     issue_i,
  input  wire pim_pkg::operand_e        operand_i,
  output logic      [64:0]              end_o
);

  localparam int unsigned BeatElems = BeatBytes / 2;
  localparam int unsigned BeatElemBits = $clog2(BeatElems);
  localparam int unsigned AtomElemBits = $clog2(AtomBytes / 2);

  // Bytes of a row: four for each of 2^32 columns, or the right operand of a product.
  typedef logic [34+(ScalarDepth > 4 ? $clog2(ScalarDepth) : 2)-1:0] row_t;

  // Five times the inner dimension, or that and the largest group.
  typedef logic [(ScalarDepth > 32768 ? $clog2(ScalarDepth) : 15)+3-1:0] inner_t;

  localparam row_t Padding = row_t'(BeatElems) - row_t'(1);

  /// What the length of a row is counted in.
  typedef enum logic [2:0] {
    UnitByte, UnitBf16, UnitF32,
    UnitProduct,             // it is the last product
    UnitBlock                // the same, and the last block
  } unit_e;

  typedef struct packed {
    logic [63:0] first;      // byte
    logic [31:0] length;     // of a row
    unit_e unit;
    logic [31:0] steps;      // from the first row to the last
    logic [31:0] stride;
  } rows_t;

  pim_isa_pkg::opcode_e opcode;
  pim_isa_pkg::broadcast_e broadcast;
  logic is_copy, is_product;
  assign opcode = pim_isa_pkg::opcode_e'(desc_i.control.opcode);
  assign broadcast = pim_isa_pkg::broadcast_e'(desc_i.control.broadcast);
  assign is_copy = pim_isa_pkg::is_copy(opcode);
  assign is_product = pim_isa_pkg::is_product(opcode);

  // Functions, so that nothing of this is evaluated but in the clock that needs it.
  function automatic rows_t left();
    left.first = 64'(desc_i.addr_a);
    left.steps = desc_i.rows - 32'd1;
    left.stride = desc_i.stride_a;
    left.length = is_copy || is_product ? desc_i.inner : desc_i.cols;
    left.unit = is_copy ? UnitByte : UnitBf16;
  endfunction

  function automatic rows_t right();
    right.first = 64'(desc_i.addr_b);
    right.steps = desc_i.rows - 32'd1;
    right.stride = desc_i.stride_b;
    right.length = desc_i.cols;
    right.unit = UnitBf16;
    if (opcode == pim_isa_pkg::OpcodeMatmul) begin
      right.steps = '0;
      right.unit = UnitProduct;
    end else if (opcode == pim_isa_pkg::OpcodeMatmulT) begin
      right.steps = desc_i.cols - 32'd1;
      right.unit = UnitBlock;
    end else if (broadcast != pim_isa_pkg::BroadcastNone) begin
      right.steps = '0;
      if (broadcast == pim_isa_pkg::BroadcastColumn) right.length = desc_i.rows;
      if (broadcast == pim_isa_pkg::BroadcastScalar) right.length = 32'd1;
    end
  endfunction

  function automatic rows_t initial_value();
    initial_value.first = 64'(desc_i.host_lo);
    initial_value.stride = desc_i.host_hi;
    initial_value.length = desc_i.cols;
    if (desc_i.control.init == pim_isa_pkg::InitRow) begin
      initial_value.steps = '0;
      initial_value.unit = UnitBf16;
    end else begin
      initial_value.steps = desc_i.rows - 32'd1;
      initial_value.unit = UnitF32;
    end
  endfunction

  function automatic rows_t result();
    result.first = 64'(desc_i.addr_y);
    result.steps = desc_i.rows - 32'd1;
    result.stride = desc_i.stride_y;
    result.length = is_copy ? desc_i.inner : desc_i.cols;
    result.unit = is_copy ? UnitByte : desc_i.control.out_f32 ? UnitF32 : UnitBf16;
  endfunction

  function automatic rows_t host();
    host.first = {desc_i.host_hi, desc_i.host_lo};
    host.steps = desc_i.rows - 32'd1;
    host.stride = opcode == pim_isa_pkg::OpcodeCopyIn ? desc_i.stride_a : desc_i.stride_y;
    host.length = desc_i.inner;
    host.unit = UnitByte;
  endfunction

  // Elements that a column of 16 bits has, those of its scales with them. `inner` is known to be at
  // most ScalarDepth where this is used.
  function automatic inner_t units();
    inner_t elements, groups;
    elements = inner_t'(desc_i.inner);
    groups = (elements + inner_t'((32'd1 << desc_i.control.group) - 32'd1)) >> desc_i.control.group;
    units = elements;
    if (desc_i.control.weights != pim_isa_pkg::WeightsBf16) begin
      units += groups << desc_i.control.weights;
    end
  endfunction

  // Bytes of the right operand of a product up to its last block.
  function automatic rows_t size();
    size = '{unit: UnitByte, default: '0};
    if (opcode == pim_isa_pkg::OpcodeMatmul) begin
      size.steps = 32'(units()) << 1;
      size.stride = desc_i.cols >> desc_i.control.weights;
    end else begin
      size.steps = (desc_i.inner - 32'd1) >> AtomElemBits;
      size.stride = desc_i.tile;
    end
  endfunction

  function automatic rows_t selected();
    unique case (operand_i)
      pim_pkg::OpA: selected = left();
      pim_pkg::OpB: selected = right();
      pim_pkg::OpC: selected = initial_value();
      pim_pkg::OpY: selected = result();
      pim_pkg::OpHost: selected = host();
      default: selected = size();
    endcase
  endfunction

  rows_t rows;
  logic [2:0] valid_q;
  logic [63:0] first_q, product;
  logic [31:0] length_q;
  unit_e unit_q;
  row_t bytes_q;
  logic [64:0] sum_q;

  always_comb begin
    rows = 'x;
    if (issue_i) rows = selected();
  end

  pim_mul u_mul (
    .clk_i,
    .rst_ni,
    .valid_i(issue_i),
    .a_i(rows.steps),
    .b_i(rows.stride),
    .product_o(product)
  );

  // Bytes of a row: elements are padded to whole beats.
  function automatic row_t row_bytes();
    row_t padded;
    padded = ((row_t'(length_q) + Padding) >> BeatElemBits) << BeatElemBits;
    unique case (unit_q)
      UnitByte: row_bytes = row_t'(length_q);
      UnitBf16: row_bytes = padded << 1;
      UnitF32: row_bytes = padded << 2;
      UnitProduct: row_bytes = row_t'(product);
      default: row_bytes = row_t'(product) + row_t'(AtomBytes);
    endcase
  endfunction

  logic [63:0] start_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[1:0], issue_i};
  end

  // No reset: what is not valid is not used.
  always_ff @(posedge clk_i) begin
    if (issue_i) begin
      first_q <= rows.first;
      length_q <= rows.length;
      unit_q <= rows.unit;
    end
    if (valid_q[0]) begin
      start_q <= first_q;
      bytes_q <= row_bytes();
    end
    if (valid_q[1]) sum_q <= 65'(start_q) + 65'(bytes_q);
    // 65 bits hold it: a product of two 32-bit numbers is 2^33 short of 2^64.
    if (valid_q[2]) end_o <= sum_q + 65'(product);
  end

endmodule

`default_nettype wire
