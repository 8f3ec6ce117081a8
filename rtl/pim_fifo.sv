`default_nettype none

/// First-in first-out buffer with registered storage and a combinational read side.
///
/// `valid_o` and `data_o` show the oldest entry; a push is visible one clock later. Neither
/// `ready_o` nor `valid_o` depends on an input in the same clock.
module pim_fifo #(
  /// Bits of an entry.
  parameter int unsigned Width = 32,
  /// Entries; a power of two.
  parameter int unsigned Depth = 16
) (
  input  wire logic             clk_i,
  input  wire logic             rst_ni,
  /// Entry to store; taken when `valid_i && ready_o`.
  input  wire logic             valid_i,
  output logic                  ready_o,
  input  wire logic [Width-1:0] data_i,
  /// Oldest entry; dropped when `valid_o && ready_i`.
  output logic                  valid_o,
  input  wire logic             ready_i,
  output logic      [Width-1:0] data_o
);

  if (Depth < 2 || (Depth & (Depth - 1)) != 0) begin : gen_check
    $error("%m: Depth must be a power of two, at least 2");
  end

  localparam int unsigned PointerBits = $clog2(Depth);

  logic [PointerBits:0] write_q, read_q;

  assign ready_o = write_q != {~read_q[PointerBits], read_q[PointerBits-1:0]};
  assign valid_o = write_q != read_q;

  pim_ram #(
    .Width(Width),
    .Depth(Depth),
    .Registered(1'b0)
  ) u_ram (
    .clk_i,
    .write_i(valid_i && ready_o),
    .write_index_i(write_q[PointerBits-1:0]),
    .write_data_i(data_i),
    .read_i(1'b1),
    .read_index_i(read_q[PointerBits-1:0]),
    .read_data_o(data_o)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      read_q <= '0;
    end else begin
      if (valid_i && ready_o) write_q <= write_q + 1'b1;
      if (valid_o && ready_i) read_q <= read_q + 1'b1;
    end
  end

endmodule

`default_nettype wire
