`default_nettype none

/// First-in first-out buffer in block memory, with a register for the oldest entry.
///
/// `valid_o` and `data_o` show the oldest entry; a push is visible one clock later. Neither
/// `ready_o` nor `valid_o` depends on an input in the same clock, nor does the address that is read:
/// the entry after the oldest is fetched while that one leaves, and a push that nothing waits before
/// goes past the memory.
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

  // Next entry to be written, to be read from the memory, and the oldest.
  logic [PointerBits:0] write_q, fetch_q, read_q;
  logic push, take, waits, fetch, past, past_q;
  logic [Width-1:0] memory_data, past_data_q;

  assign ready_o = write_q != {~read_q[PointerBits], read_q[PointerBits-1:0]};
  assign valid_o = write_q != read_q;
  assign push = valid_i && ready_o;
  assign take = !valid_o || ready_i;
  assign waits = write_q != fetch_q;
  assign fetch = take && waits;
  assign past = take && !waits && push;
  assign data_o = past_q ? past_data_q : memory_data;

  pim_ram #(
    .Width(Width),
    .Depth(Depth)
  ) u_ram (
    .clk_i,
    .write_i(push),
    .write_index_i(write_q[PointerBits-1:0]),
    .write_data_i(data_i),
    .read_i(fetch),
    .read_index_i(fetch_q[PointerBits-1:0]),
    .read_data_o(memory_data)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      fetch_q <= '0;
      read_q <= '0;
      past_q <= 1'b0;
    end else begin
      if (push) write_q <= write_q + 1'b1;
      if (fetch || past) begin
        fetch_q <= fetch_q + 1'b1;
        past_q <= past;
      end
      if (valid_o && ready_i) read_q <= read_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (past) past_data_q <= data_i;
  end

endmodule

`default_nettype wire
