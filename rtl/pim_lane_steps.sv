`default_nettype none

/// Which accumulators, which scalar and which step each read beat belongs to.
///
/// Reads of one kind arrive in the order of the descriptor's loops, so counters tell. The last access
/// of a stream sets them back. All outputs but `inner_o` are of the beat that is announced in this
/// clock, where there is one.
module pim_lane_steps #(
  parameter int unsigned AtomElems = 32,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096,
  /// Atoms of scalars that come at once.
  parameter int unsigned ScalarParts = 1
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  input  wire logic              flush_i,
  /// Data time of a read.
  input  wire pim_pkg::access_t  read_i,
  /// Accumulators: of KindMac a beat of the right operand, else a beat of results.
  output logic [$clog2(AccGroups)-1:0] group_o,
  /// KindMac: first step of a sum.
  output logic                   first_o,
  /// KindLoadF32: the upper half of a beat of results.
  output logic                   half_o,
  /// KindScale: part of the sums.
  output logic [1:0]             part_o,
  /// KindScalar: atom of the row.
  output logic [$clog2(ScalarDepth/AtomElems)-1:0] atom_o,
  /// KindMac: entry of the scalar buffer in the next clock.
  output logic [$clog2(ScalarDepth)-1:0] inner_o
);

  logic [$clog2(ScalarDepth)-1:0] inner_q;

  always_comb begin
    inner_o = inner_q;
    if (read_i.valid && read_i.kind inside {pim_pkg::KindMac, pim_pkg::KindScale}) begin
      if (read_i.last) inner_o = '0;
      else if (read_i.step_end && read_i.kind == pim_pkg::KindMac) inner_o = inner_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      group_o <= '0;
      first_o <= 1'b1;
      half_o <= 1'b0;
      part_o <= '0;
      atom_o <= '0;
      inner_q <= '0;
    end else begin
      inner_q <= inner_o;
      if (read_i.valid) begin
        unique case (read_i.kind)
          pim_pkg::KindScalar: begin
            atom_o <= read_i.last ? '0 : atom_o + ($bits(atom_o))'(read_i.all ? ScalarParts : 1);
          end
          pim_pkg::KindLoad, pim_pkg::KindEw: group_o <= read_i.last ? '0 : group_o + 1'b1;
          pim_pkg::KindLoadF32: begin
            half_o <= !half_o;
            if (half_o) group_o <= read_i.last ? '0 : group_o + 1'b1;
          end
          pim_pkg::KindMac: begin
            group_o <= read_i.step_end ? '0 : group_o + 1'b1;
            if (read_i.step_end) first_o <= read_i.last;
          end
          pim_pkg::KindScale: begin
            group_o <= read_i.step_end ? '0 : group_o + 1'b1;
            first_o <= 1'b1;
            if (read_i.step_end) part_o <= part_o == 2'd2 ? '0 : part_o + 2'd1;
          end
          default: ;
        endcase
      end
    end
  end

endmodule

`default_nettype wire
