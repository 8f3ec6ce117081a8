`default_nettype none

/// Cuts a stream of accesses into spans that stay in one DRAM page.
///
/// A page is what one row address holds: a row of one bank in per_bank style, the same row of
/// every bank in all_bank style. One stream at a time; a span leaves one clock after it became
/// the next one, so streams and spans are both registered. How many accesses a page has left is
/// a register too: the compare with the length of the stream is what is left for one clock.
module pim_spans #(
  /// Bytes of a page; a power of two.
  parameter int unsigned PageBytes = 8192,
  /// Bytes of an access to one bank.
  parameter int unsigned AtomBytes = 64,
  /// Bytes of an access to all banks at once.
  parameter int unsigned BeatBytes = 64
) (
  input  wire logic             clk_i,
  input  wire logic             rst_ni,
  /// Drop what is waiting.
  input  wire logic             flush_i,
  input  wire logic             valid_i,
  output logic                  ready_o,
  input  wire pim_pkg::stream_t stream_i,
  output logic                  valid_o,
  input  wire logic             ready_i,
  output      pim_pkg::span_t   span_o
);

  localparam int unsigned PageBits = $clog2(PageBytes);
  localparam int unsigned AtomBits = $clog2(AtomBytes);
  localparam int unsigned BeatBits = $clog2(BeatBytes);

  // Accesses from an address to the end of its page.
  localparam int unsigned RoomBits = PageBits - AtomBits + 1;
  typedef logic [RoomBits-1:0] room_t;

  logic valid_q;
  pim_pkg::stream_t stream_q;
  room_t room_q;
  logic [31:0] count;
  logic final_part;

  function automatic room_t room_from(logic [PageBits-1:0] offset, logic all);
    logic [PageBits:0] bytes;
    bytes = (PageBits + 1)'(PageBytes) - (PageBits + 1)'(offset);
    return all ? room_t'(bytes >> BeatBits) : room_t'(bytes >> AtomBits);
  endfunction

  assign final_part = stream_q.count <= 32'(room_q);
  assign count = final_part ? stream_q.count : 32'(room_q);

  assign ready_o = !valid_q || (ready_i && final_part);
  assign valid_o = valid_q;

  always_comb begin
    span_o.run = stream_q;
    span_o.run.count = count;
    span_o.last = final_part && !stream_q.more;
  end

  // A span is there for as many clocks as it has beats.
  logic clk;
  pim_clock_gate u_gate (
    .clk_i, .en_i(!rst_ni || flush_i || (valid_i && !valid_q) || (valid_q && ready_i)), .clk_o(clk)
  );

  always_ff @(posedge clk) begin
    if (!rst_ni || flush_i) begin
      valid_q <= 1'b0;
      stream_q <= '0;
      room_q <= '0;
    end else if (valid_i && ready_o) begin
      valid_q <= 1'b1;
      stream_q <= stream_i;
      room_q <= room_from(stream_i.addr[PageBits-1:0], stream_i.all);
    end else if (valid_q && ready_i) begin
      valid_q <= !final_part;
      // What is left begins a page; of the last part neither matters any more.
      stream_q.addr <= {stream_q.addr[31:PageBits] + 1'b1, PageBits'(0)};
      stream_q.count <= stream_q.count - 32'(room_q);
      room_q <= room_from('0, stream_q.all);
      stream_q.hold <= 1'b0;
    end
  end

endmodule

`default_nettype wire
