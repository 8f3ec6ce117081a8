`default_nettype none

/// What the compute sequencer has to know of a descriptor, the same while it runs; combinational.
module pim_seq_decode #(
  parameter bit AllBank = 1'b0,
  /// Fabric clocks to set up one vector instruction.
  parameter int unsigned VectorSetup = 0
) (
  input  wire pim_isa_pkg::opcode_e  opcode_i,
  input  wire pim_isa_pkg::broadcast_e broadcast_i,
  input  wire pim_isa_pkg::init_e    init_i,
  /// The right operand has integers: their results start with what is in the accumulators.
  input  wire logic                  integers_i,
  output logic                       is_t_o,
  /// Element-wise: A is loaded, then meets B. Unary: A alone goes through the lanes.
  output logic                       is_vector_o,
  output logic                       is_unary_o,
  /// The right operand sits in the scalar buffer: one element for each row, or one for all.
  output logic                       from_scalars_o,
  output logic                       from_column_o,
  /// Operation and scalar of KindEw, as pim_lane_ctl has them.
  output      pim_pkg::lane_op_e     ew_op_o,
  output logic      [1:0]            ew_scalar_o,
  /// What follows when the width of a tile is known, and its set-up.
  output      pim_pkg::seq_state_e   after_tile_o,
  output      pim_pkg::seq_state_e   after_setup_o
);

  logic factors;

  assign is_t_o = opcode_i == pim_isa_pkg::OpcodeMatmulT;
  assign is_vector_o = pim_isa_pkg::is_vector(opcode_i);
  assign is_unary_o = pim_isa_pkg::is_unary(opcode_i);
  assign from_column_o = is_vector_o && broadcast_i == pim_isa_pkg::BroadcastColumn;
  assign from_scalars_o = from_column_o ||
      (is_vector_o && broadcast_i == pim_isa_pkg::BroadcastScalar);
  // The lanes take the factor of a row from the scalar buffer with each beat. The entry that they look
  // up must be one for all beats on their way: where rows go together, accumulators hold the factors.
  assign factors = from_scalars_o && opcode_i == pim_isa_pkg::OpcodeMul &&
      !(AllBank && from_column_o);

  // generated:vector_op
  /// What the lanes do with a beat of the operand of a vector opcode that is read last.
  function automatic pim_pkg::lane_op_e vector_op(pim_isa_pkg::opcode_e kind);
    unique case (kind)
      pim_isa_pkg::OpcodeMul: vector_op = pim_pkg::LaneMul;
      pim_isa_pkg::OpcodeRelu: vector_op = pim_pkg::LaneRelu;
      default: vector_op = pim_pkg::LaneMac;
    endcase
  endfunction
  // end generated

  always_comb begin
    ew_op_o = factors ? pim_pkg::LaneMuls : vector_op(opcode_i);
    ew_scalar_o = 2'd0;
    if (opcode_i == pim_isa_pkg::OpcodeMul) ew_scalar_o = 2'd2;
    else if (opcode_i == pim_isa_pkg::OpcodeSub && !from_scalars_o) ew_scalar_o = 2'd1;
  end

  always_comb begin
    after_setup_o = pim_pkg::SeqStream;
    if (is_vector_o) begin
      if (from_scalars_o && !factors) after_setup_o = pim_pkg::SeqSplat;
      else if (!from_scalars_o && !is_unary_o) after_setup_o = pim_pkg::SeqInit;
    end else if (init_i != pim_isa_pkg::InitZero) begin
      after_setup_o = pim_pkg::SeqInit;
    end else if (is_t_o || integers_i) begin
      after_setup_o = pim_pkg::SeqSplat;
    end
    after_tile_o = is_vector_o && VectorSetup != 0 ? pim_pkg::SeqSetup : after_setup_o;
  end

endmodule

`default_nettype wire
