/// Test module: one registered port of every storage class, a counter and a combinational path.
module port_widths #(
  parameter int unsigned Step = 1
) (
  input  logic clk_i,
  input  logic w1_i,
  output logic w1_o,
  input  logic [7:0] w8_i,
  output logic [7:0] w8_o,
  input  logic [8:0] w9_i,
  output logic [8:0] w9_o,
  input  logic [15:0] w16_i,
  output logic [15:0] w16_o,
  input  logic [16:0] w17_i,
  output logic [16:0] w17_o,
  input  logic [31:0] w32_i,
  output logic [31:0] w32_o,
  input  logic [32:0] w33_i,
  output logic [32:0] w33_o,
  input  logic [63:0] w64_i,
  output logic [63:0] w64_o,
  input  logic [64:0] w65_i,
  output logic [64:0] w65_o,
  input  logic [99:0] w100_i,
  output logic [99:0] w100_o,
  output logic [7:0] comb_o,
  output logic [31:0] cycles_o
);

  assign comb_o = ~w8_i;

  initial begin
    cycles_o = '0;
    w1_o = '0;
    w8_o = '0;
    w9_o = '0;
    w16_o = '0;
    w17_o = '0;
    w32_o = '0;
    w33_o = '0;
    w64_o = '0;
    w65_o = '0;
    w100_o = '0;
  end

  always_ff @(posedge clk_i) begin
    cycles_o <= cycles_o + Step;
    w1_o <= ~w1_i;
    w8_o <= ~w8_i;
    w9_o <= ~w9_i;
    w16_o <= ~w16_i;
    w17_o <= ~w17_i;
    w32_o <= ~w32_i;
    w33_o <= ~w33_i;
    w64_o <= ~w64_i;
    w65_o <= ~w65_i;
    w100_o <= ~w100_i;
  end

endmodule
