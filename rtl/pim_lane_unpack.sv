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

  // Which byte or which four bits of a lane's operand: of registers, so that they are there first.
  logic [1:0] bytes;
  logic [3:0] nibbles;
  always_comb begin
    bytes = '0;
    nibbles = '0;
    if (integers_i) begin
      if (weights_i == pim_isa_pkg::WeightsW8) bytes[column_i[0]] = 1'b1;
      else nibbles[column_i[1:0]] = 1'b1;
    end
  end

  /// The integer chosen of an operand; 0 where none is.
  function automatic logic [15:0] integer_of(logic [15:0] word);
    logic [7:0] byte_code;
    logic [3:0] code;
    integer_of = '0;
    for (int unsigned i = 0; i < 2; i++) begin
      byte_code = word[i*8+:8];
      if (bytes[i]) begin
        integer_of |= {byte_code[7], 7'b0, byte_code == 8'h80, byte_code[6:0]};
      end
    end
    for (int unsigned i = 0; i < 4; i++) begin
      code = word[i*4+:4];
      if (nibbles[i]) integer_of |= {code[3], 11'b0, code == 4'h8, code[2:0]};
    end
  endfunction

  always_comb begin
    for (int unsigned l = 0; l < Lanes; l++) begin
      vector_o[l*16+:16] = integer_of(vector_i[l*16+:16])
          | (integers_i ? '0 : vector_i[l*16+:16]);
    end
  end

  logic unused;
  assign unused = column_i[2];

endmodule

`default_nettype wire
