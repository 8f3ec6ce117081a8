`default_nettype none

/// The checks of a descriptor that need no arithmetic: opcode, options, sizes, alignment.
///
/// `sample_i` takes `desc_i`; `code_o` is there one clock later and stays. Of several faults the
/// first in the order opcode, option, size, alignment is reported.
module pim_check_static #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096,
  /// Rows of the left operand for a beat.
  parameter int unsigned RowsPerBeat = 1
) (
  input  wire logic                     clk_i,
  input  wire logic                     sample_i,
  input  wire pim_isa_pkg::descriptor_t desc_i,
  output      pim_isa_pkg::code_e       code_o
);

  localparam int unsigned BeatElemBits = $clog2(BeatBytes / 2);
  localparam int unsigned AtomElemBits = $clog2(AtomBytes / 2);
  localparam int unsigned BeatBits = $clog2(BeatBytes);
  localparam int unsigned AtomBits = $clog2(AtomBytes);

  /// What is asked of the fields, one bit a question; which questions count depends on the opcode.
  typedef struct packed {
    logic unknown;
    logic undefined;
    logic off_next;
    // Sizes.
    logic no_rows;
    logic no_inner;
    logic no_cols;
    logic part_line;         // inner, bytes: not whole lines of 64
    logic long_inner;
    logic many_rows;
    logic part_beat_cols;
    logic part_atom_cols;
    logic bad_tile;          // in beats
    // Alignment to lines of 64 bytes, to beats, to atoms.
    logic off_line;          // what a copy uses
    logic off_beat;          // what every computation uses
    logic off_beat_c_row;
    logic off_beat_c_f32;
    logic off_beat_b;
    logic off_beat_stride_b;
    logic off_atom_b;        // what MATMUL_T uses
  } faults_t;
  faults_t faults_q;

  pim_isa_pkg::opcode_e opcode;
  pim_isa_pkg::broadcast_e broadcast;
  pim_isa_pkg::init_e init;
  assign opcode = pim_isa_pkg::opcode_e'(desc_i.control.opcode);
  assign broadcast = pim_isa_pkg::broadcast_e'(desc_i.control.broadcast);
  assign init = pim_isa_pkg::init_e'(desc_i.control.init);

  /// Whether the opcode or the device has no such weights.
  function automatic logic undefined_weights(pim_isa_pkg::control_t control);
    if (control.weights == pim_isa_pkg::WeightsBf16) return control.group != '0;
    return opcode != pim_isa_pkg::OpcodeMatmul || (32'd1 << control.weights) > RowsPerBeat;
  endfunction

  /// Whether a number is not a multiple of the weights in the 16 bits of a lane.
  function automatic logic part_weights(logic [31:0] value, logic [1:0] weights);
    return (value & ((32'd1 << weights) - 32'd1)) != '0;
  endfunction

  function automatic logic off_line(logic [31:0] value);
    return value[5:0] != '0;
  endfunction

  function automatic logic off_beat(logic [31:0] value);
    return value[BeatBits-1:0] != '0;
  endfunction

  function automatic logic off_atom(logic [31:0] value);
    return value[AtomBits-1:0] != '0;
  endfunction

  // A function, so that nothing of this is evaluated but when a descriptor is there.
  function automatic faults_t faults();
    faults.unknown = !pim_isa_pkg::is_known(opcode);
    faults.undefined = pim_isa_pkg::has_undefined_option(desc_i.control) ||
        undefined_weights(desc_i.control);
    faults.off_next = opcode != pim_isa_pkg::OpcodeEnd && off_line(desc_i.next_lo);
    faults.no_rows = desc_i.rows == '0;
    faults.no_inner = desc_i.inner == '0;
    faults.no_cols = desc_i.cols == '0;
    faults.part_line = off_line(desc_i.inner);
    faults.long_inner = desc_i.inner > ScalarDepth;
    faults.many_rows = desc_i.rows > ScalarDepth;
    faults.part_beat_cols = desc_i.cols[BeatElemBits-1:0] != '0 ||
        part_weights(desc_i.cols >> BeatElemBits, desc_i.control.weights);
    faults.part_atom_cols = desc_i.cols[AtomElemBits-1:0] != '0;
    faults.bad_tile = desc_i.tile == '0 || desc_i.tile > AccGroups ||
        part_weights(desc_i.tile, desc_i.control.weights);
    faults.off_line = off_line(desc_i.host_lo) || off_line(desc_i.stride_a) ||
        off_line(desc_i.stride_y) ||
        off_line(opcode == pim_isa_pkg::OpcodeCopyIn ? desc_i.addr_y : desc_i.addr_a);
    faults.off_beat = off_beat(desc_i.addr_a) || off_beat(desc_i.addr_y) ||
        off_beat(desc_i.stride_a) || off_beat(desc_i.stride_y);
    faults.off_beat_c_row = off_beat(desc_i.host_lo);
    faults.off_beat_c_f32 = off_beat(desc_i.host_lo) || off_beat(desc_i.host_hi);
    faults.off_beat_b = off_beat(desc_i.addr_b);
    faults.off_beat_stride_b = off_beat(desc_i.stride_b);
    faults.off_atom_b = off_atom(desc_i.addr_b) || off_atom(desc_i.stride_b) ||
        off_atom(desc_i.tile);
  endfunction

  always_ff @(posedge clk_i) begin
    if (sample_i) faults_q <= faults();
  end

  logic size, misaligned;

  always_comb begin
    size = 1'b0;
    misaligned = faults_q.off_next;
    if (pim_isa_pkg::is_copy(opcode)) begin
      size = faults_q.no_rows || faults_q.no_inner || faults_q.part_line;
      misaligned |= faults_q.off_line;
    end else if (pim_isa_pkg::is_product(opcode)) begin
      size = faults_q.no_rows || faults_q.no_inner || faults_q.long_inner || faults_q.no_cols;
      misaligned |= faults_q.off_beat;
      if (init == pim_isa_pkg::InitRow) misaligned |= faults_q.off_beat_c_row;
      if (init == pim_isa_pkg::InitF32) misaligned |= faults_q.off_beat_c_f32;
      if (opcode == pim_isa_pkg::OpcodeMatmul) begin
        size |= faults_q.part_beat_cols || faults_q.bad_tile;
        misaligned |= faults_q.off_beat_b;
      end else begin
        size |= faults_q.part_atom_cols;
        misaligned |= faults_q.off_atom_b;
      end
    end else if (pim_isa_pkg::is_vector(opcode)) begin
      size = faults_q.no_rows || faults_q.no_cols || faults_q.part_beat_cols ||
          (broadcast == pim_isa_pkg::BroadcastColumn && faults_q.many_rows);
      misaligned |= faults_q.off_beat;
      if (pim_isa_pkg::is_elementwise(opcode)) begin
        misaligned |= faults_q.off_beat_b;
        if (broadcast == pim_isa_pkg::BroadcastNone) misaligned |= faults_q.off_beat_stride_b;
      end
    end
  end

  always_comb begin
    if (faults_q.unknown) code_o = pim_isa_pkg::CodeOpcode;
    else if (faults_q.undefined) code_o = pim_isa_pkg::CodeReserved;
    else if (size) code_o = pim_isa_pkg::CodeSize;
    else if (misaligned) code_o = pim_isa_pkg::CodeMisaligned;
    else code_o = pim_isa_pkg::CodeDone;
  end

endmodule

`default_nettype wire
