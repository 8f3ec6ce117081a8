`default_nettype none

/// Stands in for the lanes while the control path is synthesised: registers on every port, no
/// arithmetic. Ports and parameters are those of pim_lanes.
module pim_lanes_stand_in #(
  parameter int unsigned Lanes = 32,
  parameter int unsigned Groups = 16,
  parameter int unsigned Parts = 1,
  /// Not used here.
  parameter int unsigned Latency = 4,
  parameter bit Integers = 1'b1
) (
  input  wire logic                      clk_i,
  input  wire logic                      valid_i,
  input  wire pim_pkg::lane_op_e         op_i,
  input  wire logic [$clog2(Groups)-1:0] group_i,
  input  wire logic [Parts-1:0]          mask_i,
  input  wire logic [15:0]               scalar_i,
  input  wire logic [Lanes*16-1:0]       vector_i,
  input  wire logic                      read_i,
  input  wire logic [$clog2(Groups)-1:0] read_group_i,
  input  wire logic [1:0]                read_part_i,
  output logic      [Lanes*16-1:0]       read_bf16_o,
  output logic      [Lanes*32-1:0]       read_f32_o
);

  localparam int unsigned ControlBits = $bits(pim_pkg::lane_op_e) + 2 * $clog2(Groups) + Parts + 3;

  logic [Lanes*16-1:0] held_q;
  logic [ControlBits-1:0] control_q;

  always_ff @(posedge clk_i) begin
    control_q <= {op_i, group_i, read_group_i, read_part_i, mask_i, valid_i};
    if (valid_i) held_q <= vector_i ^ {Lanes{scalar_i}};
    if (read_i) begin
      read_bf16_o <= held_q ^ (Lanes*16)'(control_q);
      read_f32_o <= {held_q, ~held_q};
    end
  end

endmodule

`default_nettype wire
