`default_nettype none

/// Product of two unsigned 32-bit numbers, of four 16-bit multipliers with registers between.
///
/// Factors taken with `valid_i` give their product three clocks later, for one clock; a new pair may
/// come in every clock. A product that nobody asked for is not computed: the registers hold.
module pim_mul (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  input  wire logic        valid_i,
  input  wire logic [31:0] a_i,
  input  wire logic [31:0] b_i,
  output logic      [63:0] product_o
);

  logic [1:0] valid_q;
  logic [31:0] a_q, b_q;
  logic [31:0] low_q, high_q, cross_q, other_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[0], valid_i};
  end

  // No reset: what is not valid is not used.
  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      a_q <= a_i;
      b_q <= b_i;
    end
    if (valid_q[0]) begin
      low_q <= 32'(a_q[15:0]) * 32'(b_q[15:0]);
      cross_q <= 32'(a_q[31:16]) * 32'(b_q[15:0]);
      other_q <= 32'(a_q[15:0]) * 32'(b_q[31:16]);
      high_q <= 32'(a_q[31:16]) * 32'(b_q[31:16]);
    end
    if (valid_q[1]) begin
      product_o <= {high_q, low_q} + {15'd0, 33'(cross_q) + 33'(other_q), 16'd0};
    end
  end

endmodule

`default_nettype wire
