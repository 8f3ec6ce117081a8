`default_nettype none

/// Collects the data of every write: the write side of pim_lane_ctl.
///
/// An accumulator set, rounded or as it is in two halves, or an atom from the host is there two
/// clocks after its write was announced. Accumulator sets are written in the order of the
/// descriptor's loops, so a counter here tells which is next.
module pim_lane_result #(
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  input  wire logic              flush_i,
  /// Two clocks before the data time of a write.
  input  wire pim_pkg::access_t  write_i,
  /// The write announced two clocks ago, and its data.
  output      pim_pkg::access_t  write_o,
  output logic      [BeatBytes*8-1:0] write_data_o,
  /// Accumulators to read; what they hold is there in the next clock.
  output logic                   acc_read_o,
  output logic [2:0]             acc_row_o,
  output logic [$clog2(AccGroups)-1:0] acc_group_o,
  input  wire logic [BeatBytes*8-1:0] acc_bf16_i,
  input  wire logic [BeatBytes*16-1:0] acc_f32_i,
  /// Atom from the host; `copy_in_pop_o` takes it.
  input  wire logic [AtomBytes*8-1:0] copy_in_data_i,
  output logic                   copy_in_pop_o
);

  localparam int unsigned GroupBits = $clog2(AccGroups);

  logic [GroupBits-1:0] out_group_q;
  logic out_half_q;
  pim_pkg::access_t write_q;
  // Where the data come from, decoded a clock ahead: the choice is as wide as a beat.
  typedef enum logic [1:0] { FromBf16, FromLow, FromHigh, FromHost } from_e;
  from_e from_q;
  logic [AtomBytes*8-1:0] copy_in_q;

  assign acc_read_o = write_i.valid && write_i.kind != pim_pkg::KindCopyIn;
  assign acc_row_o = write_i.row;
  assign acc_group_o = out_group_q;
  assign copy_in_pop_o = write_i.valid && write_i.kind == pim_pkg::KindCopyIn;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      out_group_q <= '0;
      out_half_q <= 1'b0;
    end else if (write_i.valid && write_i.kind == pim_pkg::KindBf16) begin
      out_group_q <= write_i.last ? '0 : out_group_q + 1'b1;
    end else if (write_i.valid && write_i.kind == pim_pkg::KindF32) begin
      out_half_q <= !out_half_q;
      if (out_half_q) out_group_q <= write_i.last ? '0 : out_group_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      write_o <= '0;
      from_q <= FromHost;
    end else begin
      write_q <= write_i;
      unique case (write_i.kind)
        pim_pkg::KindBf16: from_q <= FromBf16;
        pim_pkg::KindF32: from_q <= out_half_q ? FromHigh : FromLow;
        default: from_q <= FromHost;
      endcase
      write_o <= write_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (copy_in_pop_o) copy_in_q <= copy_in_data_i;
  end

  // A memory of one entry: a simulator copies it when it is written, a plain register this wide in
  // every clock.
  logic [BeatBytes*8-1:0] write_data_q [1];
  assign write_data_o = write_data_q[0];

  // In one assignment: synthesis makes a port of the memory of each.
  function automatic logic [BeatBytes*8-1:0] written(from_e from);
    unique case (from)
      FromBf16: written = acc_bf16_i;
      FromLow: written = acc_f32_i[BeatBytes*8-1:0];
      FromHigh: written = acc_f32_i[BeatBytes*8+:BeatBytes*8];
      default: written = (BeatBytes*8)'(copy_in_q);
    endcase
  endfunction

  always_ff @(posedge clk_i) begin
    if (write_q.valid) write_data_q[0] <= written(from_q);
  end

endmodule

`default_nettype wire
