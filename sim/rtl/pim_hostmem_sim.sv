`default_nettype none

/// Simulated host memory: an AXI4 slave over the memory that the host process shares.
///
/// Takes INCR bursts of up to 16 beats of 64 bytes, up to `Outstanding` reads and as many writes at
/// a time, each channel in order. Latencies, spacing and back-pressure are plusargs, so that they
/// change without a new build:
///
///   +hostmem_read_latency=N   cycles from a read address to its first beat, at least 2 (default 2)
///   +hostmem_read_gap=N       cycles from one read beat to the next, at least (default 1)
///   +hostmem_write_latency=N  cycles from the last write beat to its response, at least 2
///                             (default 2)
///   +hostmem_write_gap=N      cycles from one write beat to the next, at least (default 1)
///   +hostmem_stall=N          chance in 256 that a channel pauses in a cycle (default 0)
///   +hostmem_seed=N           of the pauses; not 0 (default 1)
///
/// The pauses come from a shift register that is loaded with the seed while `busy_i` is low and
/// steps while it is high, so they restart with every descriptor list: its cycle count depends on
/// the list and these parameters only. Lines outside the shared memory answer DECERR, the line
/// chosen with `pimloop_hostmem_error` SLVERR; nothing is written there.
///
/// Back-pressure: `arready`, `awready` and `wready` do not depend on the `valid` of this cycle;
/// read data and responses are registered and stable until taken. One DPI call per beat.
module pim_hostmem_sim #(
    parameter int Outstanding = 4  /// bursts of each direction that are accepted at a time
) (
    input wire logic clk_i,
    input wire logic rst_ni,  /// low: every burst in flight is forgotten
    input wire logic busy_i,  /// the device works on a list

    input  wire logic [ 63:0] s_axi_araddr,
    input  wire logic [  7:0] s_axi_arlen,
    input  wire logic [  2:0] s_axi_arsize,
    input  wire logic [  1:0] s_axi_arburst,
    input  wire logic         s_axi_arvalid,
    output logic              s_axi_arready,
    output logic      [511:0] s_axi_rdata,
    output logic      [  1:0] s_axi_rresp,
    output logic              s_axi_rlast,
    output logic              s_axi_rvalid,
    input  wire logic         s_axi_rready,
    input  wire logic [ 63:0] s_axi_awaddr,
    input  wire logic [  7:0] s_axi_awlen,
    input  wire logic [  2:0] s_axi_awsize,
    input  wire logic [  1:0] s_axi_awburst,
    input  wire logic         s_axi_awvalid,
    output logic              s_axi_awready,
    input  wire logic [511:0] s_axi_wdata,
    input  wire logic [ 63:0] s_axi_wstrb,
    input  wire logic         s_axi_wlast,
    input  wire logic         s_axi_wvalid,
    output logic              s_axi_wready,
    output logic      [  1:0] s_axi_bresp,
    output logic              s_axi_bvalid,
    input  wire logic         s_axi_bready
);

  import "DPI-C" function int pim_hostmem_read(
    input longint unsigned address,
    output bit [511:0] data
  );
  import "DPI-C" function int pim_hostmem_write(
    input longint unsigned address,
    input longint unsigned strobe,
    input bit [511:0] data
  );

  localparam logic [63:0] BeatBytes = 64;
  localparam int IndexBits = Outstanding > 1 ? $clog2(Outstanding) : 1;
  localparam int CountBits = $clog2(Outstanding + 1);
  localparam logic [1:0] Okay = 2'b00;

  typedef logic [IndexBits-1:0] index_t;
  typedef logic [CountBits-1:0] count_t;
  typedef logic [31:0] cycle_t;

  typedef struct packed {
    logic [1:0] resp;
    cycle_t     ready;
  } response_t;

  if (Outstanding < 1) begin : gen_check_outstanding
    $error("%m: Outstanding must be at least 1");
  end

  int unsigned read_latency, read_gap, write_latency, write_gap, stall;
  longint unsigned seed;

  function automatic int unsigned plusarg(input string pattern, input int unsigned otherwise);
    int unsigned value;
    if ($value$plusargs(pattern, value) == 0) value = otherwise;
    return value;
  endfunction

  initial begin
    read_latency  = plusarg("hostmem_read_latency=%d", 2);
    read_gap      = plusarg("hostmem_read_gap=%d", 1);
    write_latency = plusarg("hostmem_write_latency=%d", 2);
    write_gap     = plusarg("hostmem_write_gap=%d", 1);
    stall         = plusarg("hostmem_stall=%d", 0);
    seed          = {32'h9E37_79B9, plusarg("hostmem_seed=%d", 1)};
  end

  function automatic index_t next_index(input index_t index);
    return 32'(index) == Outstanding - 1 ? '0 : index + 1'b1;
  endfunction

  // ---- The clock stops while nothing here can change: no burst is there or comes, every spacing
  // is over, and no pauses are drawn.

  logic clk, active, enable;
  logic read_ready, read_spaced, write_spaced, response_ready;  // a time has come
  count_t read_count_q, write_count_q, response_count_q;  // bursts in each queue

  assign active = !rst_ni || !busy_i || stall != 0 || s_axi_arvalid || s_axi_awvalid ||
      s_axi_wvalid || s_axi_rvalid || s_axi_bvalid || read_count_q != 0 || write_count_q != 0 ||
      response_count_q != 0 || !read_spaced || !write_spaced;

  always_latch if (!clk_i) enable = active;

  assign clk = clk_i && enable;

  // ---- Pauses: one byte of the shift register for each channel.

  longint unsigned random_q;
  logic [4:0] pause;

  function automatic longint unsigned xorshift(input longint unsigned value);
    longint unsigned x;
    x = value ^ (value << 13);
    x = x ^ (x >> 7);
    return x ^ (x << 17);
  endfunction

  always_ff @(posedge clk) begin
    if (!busy_i) random_q <= seed;
    else if (stall != 0) random_q <= xorshift(random_q);
  end

  always_comb begin
    pause = '0;
    if (stall != 0) for (int i = 0; i < 5; i++) pause[i] = 32'(random_q[8*i+:8]) < stall;
  end

  // ---- A cycle counter for the latencies; only differences matter.

  cycle_t now_q;
  always_ff @(posedge clk) begin
    if (!rst_ni) now_q <= '0;
    else now_q <= now_q + 1'b1;
  end

  assign read_ready = $signed(now_q - read_ready_q[read_head_q]) >= 0;
  assign read_spaced = $signed(now_q - read_next_q) >= 0;
  assign write_spaced = $signed(now_q - write_next_q) >= 0;
  assign response_ready = $signed(now_q - responses_q[response_head_q].ready) >= 0;

  // ---- Reads.

  logic [63:0] read_addr_q[Outstanding];  // of the next beat
  logic [7:0] read_beats_q[Outstanding];  // still to come, minus one
  cycle_t read_ready_q[Outstanding];  // first cycle in which the burst may start
  index_t read_head_q, read_tail_q;
  cycle_t read_next_q;  // first cycle in which the next beat may appear
  logic read_pop, read_push, read_issue;
  bit [511:0] read_line;  // a DPI output is assigned at once; the register changes with all others

  assign s_axi_arready = 32'(read_count_q) < Outstanding && !pause[0];
  assign read_push = s_axi_arvalid && s_axi_arready;
  assign read_issue = read_count_q != 0 && (!s_axi_rvalid || s_axi_rready) && !pause[1] &&
      read_ready && read_spaced;
  assign read_pop = read_issue && read_beats_q[read_head_q] == 0;

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      read_head_q  <= '0;
      read_tail_q  <= '0;
      read_count_q <= '0;
      read_next_q  <= '0;
      s_axi_rvalid <= 1'b0;
    end else begin
      read_count_q <= read_count_q + count_t'(read_push) - count_t'(read_pop);
      if (read_push) begin
        read_addr_q[read_tail_q] <= s_axi_araddr;
        read_beats_q[read_tail_q] <= s_axi_arlen;
        read_ready_q[read_tail_q] <= now_q + read_latency - 1;
        read_tail_q <= next_index(read_tail_q);
      end
      if (read_issue) begin
        s_axi_rresp <= 2'(pim_hostmem_read(read_addr_q[read_head_q], read_line));
        s_axi_rdata <= read_line;
        s_axi_rlast <= read_pop;
        s_axi_rvalid <= 1'b1;
        read_next_q <= now_q + read_gap;
        read_addr_q[read_head_q] <= read_addr_q[read_head_q] + BeatBytes;
        read_beats_q[read_head_q] <= read_beats_q[read_head_q] - 1'b1;
        if (read_pop) read_head_q <= next_index(read_head_q);
      end else if (s_axi_rready) begin
        s_axi_rvalid <= 1'b0;
      end
    end
  end

  // ---- Writes: beats go to the oldest burst whose data is not complete.

  logic [63:0] write_addr_q[Outstanding];
  logic [7:0] write_beats_q[Outstanding];
  index_t write_head_q, write_tail_q;
  cycle_t write_next_q;  // first cycle in which the next beat is taken
  logic [1:0] write_resp_q;  // worst response of the burst so far
  logic write_pop, write_push, write_beat;

  response_t responses_q[Outstanding];
  index_t response_head_q, response_tail_q;
  logic response_pop;

  // Responses not yet given count as outstanding too.
  assign s_axi_awready = 32'(write_count_q) + 32'(response_count_q) < Outstanding && !pause[2];
  assign write_push = s_axi_awvalid && s_axi_awready;
  assign s_axi_wready = write_count_q != 0 && !pause[3] && write_spaced;
  assign write_beat = s_axi_wvalid && s_axi_wready;
  assign write_pop = write_beat && write_beats_q[write_head_q] == 0;
  assign response_pop = response_count_q != 0 && (!s_axi_bvalid || s_axi_bready) && !pause[4] &&
      response_ready;

  always_ff @(posedge clk) begin
    if (!rst_ni) begin
      write_head_q     <= '0;
      write_tail_q     <= '0;
      write_count_q    <= '0;
      write_next_q     <= '0;
      write_resp_q     <= Okay;
      response_head_q  <= '0;
      response_tail_q  <= '0;
      response_count_q <= '0;
      s_axi_bvalid     <= 1'b0;
    end else begin
      write_count_q <= write_count_q + count_t'(write_push) - count_t'(write_pop);
      response_count_q <= response_count_q + count_t'(write_pop) - count_t'(response_pop);
      if (write_push) begin
        write_addr_q[write_tail_q] <= s_axi_awaddr;
        write_beats_q[write_tail_q] <= s_axi_awlen;
        write_tail_q <= next_index(write_tail_q);
      end
      if (write_beat) begin
        logic [1:0] resp;
        resp = 2'(pim_hostmem_write(write_addr_q[write_head_q], s_axi_wstrb, s_axi_wdata));
        if (write_resp_q > resp) resp = write_resp_q;
        write_next_q <= now_q + write_gap;
        write_addr_q[write_head_q] <= write_addr_q[write_head_q] + BeatBytes;
        write_beats_q[write_head_q] <= write_beats_q[write_head_q] - 1'b1;
        write_resp_q <= write_pop ? Okay : resp;
        if (write_pop) begin
          write_head_q <= next_index(write_head_q);
          responses_q[response_tail_q] <= '{resp, now_q + write_latency - 1};
          response_tail_q <= next_index(response_tail_q);
        end
      end
      if (response_pop) begin
        s_axi_bresp <= responses_q[response_head_q].resp;
        s_axi_bvalid <= 1'b1;
        response_head_q <= next_index(response_head_q);
      end else if (s_axi_bready) begin
        s_axi_bvalid <= 1'b0;
      end
    end
  end

  // ---- What the master must keep to.

  function automatic logic legal(input logic [11:0] addr, input logic [7:0] len,
                                 input logic [2:0] size, input logic [1:0] burst);
    return size == 3'd6 && burst == 2'b01 && len < 16 && addr[5:0] == 0 &&
        32'(addr[11:6]) + 32'(len) < 64;
  endfunction

  always_ff @(posedge clk) begin
    if (rst_ni) begin
      assert (!read_push || legal(s_axi_araddr[11:0], s_axi_arlen, s_axi_arsize, s_axi_arburst))
      else $error("illegal read burst: address %h, len %0d", s_axi_araddr, s_axi_arlen);
      assert (!write_push || legal(s_axi_awaddr[11:0], s_axi_awlen, s_axi_awsize, s_axi_awburst))
      else $error("illegal write burst: address %h, len %0d", s_axi_awaddr, s_axi_awlen);
      assert (!write_beat || s_axi_wlast == (write_beats_q[write_head_q] == 0))
      else $error("wlast is %b with %0d beats to come", s_axi_wlast,
                  write_beats_q[write_head_q]);
    end
  end

endmodule

`default_nettype wire
