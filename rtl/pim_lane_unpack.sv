`default_nettype none

/// Gives each lane its operand: 16 bits of a beat, or one of the integers in them as the sign and the
/// magnitude that LaneMacI takes. Combinational.
///
/// An integer is stored as sign and magnitude; what would be -0 is the least one, whose magnitude has
/// a bit more.
module pim_lane_unpack #(
  parameter int unsigned Lanes = 32
) (
  input  wire logic [1:0]          weights_i,
  input  wire logic                integers_i,
  /// Which of the integers in the 16 bits.
  input  wire logic [2:0]          column_i,
  input  wire logic [Lanes*16-1:0] vector_i,
  output logic      [Lanes*16-1:0] vector_o
);

  function automatic logic [15:0] integer_of(logic [15:0] word);
    logic [7:0] byte_code;
    logic [3:0] code;
    byte_code = column_i[0] ? word[15:8] : word[7:0];
    code = word[{column_i[1:0], 2'b00}+:4];
    if (weights_i == pim_isa_pkg::WeightsW8) begin
      integer_of = {byte_code[7], 7'b0, byte_code == 8'h80, byte_code[6:0]};
    end else begin
      integer_of = {code[3], 11'b0, code == 4'h8, code[2:0]};
    end
  endfunction

  always_comb begin
    vector_o = vector_i;
    if (integers_i) begin
      for (int unsigned l = 0; l < Lanes; l++) begin
        vector_o[l*16+:16] = integer_of(vector_i[l*16+:16]);
      end
    end
  end

  logic unused;
  assign unused = column_i[2];

endmodule

`default_nettype wire
