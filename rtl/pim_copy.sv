`default_nettype none

/// Copies between host and device memory.
///
/// Copy-in: the DMA reader fills a FIFO, writes to device memory are issued as atoms arrive.
/// Copy-out: reads of device memory are issued as long as the FIFO has room for what they
/// bring, the DMA writer empties it. Both sides run at once. After a read error the accesses
/// that would wait for missing data are flushed.
module pim_copy #(
  parameter int unsigned AtomBytes = 64,
  /// 64-byte beats of the FIFO; a power of two, at least two bursts of 16.
  parameter int unsigned FifoDepth = 64
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  /// Start the copy of `desc_i`; the descriptor stays until `done_o`.
  input  wire logic                     start_i,
  input  wire pim_isa_pkg::descriptor_t desc_i,
  output logic                          done_o,
  /// With `done_o`: CodeDone, CodeAxiRead or CodeAxiWrite.
  output      pim_isa_pkg::code_e       code_o,

  output logic                          rd_start_o,
  output logic                          wr_start_o,
  output      pim_pkg::job_t            job_o,
  input  wire logic                     rd_busy_i,
  input  wire logic                     rd_error_i,
  output logic                          rd_room_o,
  input  wire logic                     rd_burst_i,
  input  wire logic [4:0]               rd_burst_beats_i,
  input  wire logic                     rd_valid_i,
  input  wire logic [511:0]             rd_data_i,
  input  wire logic                     wr_busy_i,
  input  wire logic                     wr_error_i,
  output logic                          wr_valid_o,
  input  wire logic                     wr_ready_i,
  output logic      [511:0]             wr_data_o,

  output logic                          stream_valid_o,
  input  wire logic                     stream_ready_i,
  output      pim_pkg::stream_t         stream_o,
  output logic                          flush_o,
  /// No access waits or is under way.
  input  wire logic                     memory_idle_i,
  /// A column command of a copy goes out.
  input  wire logic                     issue_i,
  output logic                          out_room_o,
  output logic                          in_ready_o,
  input  wire logic                     atom_valid_i,
  input  wire logic [AtomBytes*8-1:0]   atom_i,
  input  wire logic                     atom_pop_i,
  output logic      [AtomBytes*8-1:0]   atom_o
);

  localparam int unsigned AtomsPerBeat = 64 / AtomBytes;
  localparam int unsigned Atoms = FifoDepth * AtomsPerBeat;
  localparam int unsigned AtomCountBits = $clog2(Atoms + 1);
  localparam int unsigned BeatCountBits = $clog2(FifoDepth + 1);
  localparam int unsigned PartBits = AtomsPerBeat > 1 ? $clog2(AtomsPerBeat) : 1;

  if (AtomBytes > 64 || 64 % AtomBytes != 0) begin : gen_check
    $error("%m: AtomBytes must divide 64");
  end

  typedef enum logic [1:0] { StIdle, StRun, StDrain, StDone } state_e;
  state_e state_q;
  logic is_in, error_q, started_q;
  logic [31:0] rows_left_q, addr_q, stride;
  logic [AtomCountBits-1:0] atoms_q, atoms_now;  // in: atoms there; out: room for atoms
  logic some_q;                           // there is one: the scheduler asks late in a clock
  logic [BeatCountBits-1:0] reserved_q;   // in: beats there or requested
  logic [PartBits-1:0] part_q;
  logic fifo_reset_n, fifo_valid, fifo_ready, fifo_pop, push;
  logic [511:0] fifo_data, push_data;

  assign is_in = desc_i.control.opcode == pim_isa_pkg::OpcodeCopyIn;
  assign stride = is_in ? desc_i.stride_y : desc_i.stride_a;

  assign job_o.addr = {desc_i.host_hi, desc_i.host_lo};
  assign job_o.rows = desc_i.rows;
  assign job_o.bytes = desc_i.inner;
  assign job_o.stride = is_in ? desc_i.stride_a : desc_i.stride_y;
  assign rd_start_o = start_i && is_in;
  assign wr_start_o = start_i && !is_in;

  assign stream_valid_o = state_q == StRun && rows_left_q != '0 && !error_q;
  always_comb begin
    stream_o = '0;
    stream_o.addr = addr_q;
    stream_o.count = desc_i.inner >> $clog2(AtomBytes);
    stream_o.kind = is_in ? pim_pkg::KindCopyIn : pim_pkg::KindCopyOut;
  end
  assign flush_o = state_q == StRun && is_in && rd_error_i;

  // A read error leaves stale beats behind; every copy starts with an empty FIFO.
  assign fifo_reset_n = rst_ni && !start_i;

  pim_fifo #(
    .Width(512),
    .Depth(FifoDepth)
  ) u_fifo (
    .clk_i,
    .rst_ni(fifo_reset_n),
    .valid_i(push),
    .ready_o(fifo_ready),
    .data_i(push_data),
    .valid_o(fifo_valid),
    .ready_i(fifo_pop),
    .data_o(fifo_data)
  );

  assign rd_room_o = is_in ? 32'(reserved_q) + 32'd16 <= FifoDepth : 1'b1;
  assign out_room_o = some_q;
  assign in_ready_o = some_q;
  assign wr_valid_o = fifo_valid && !is_in && state_q == StRun;
  assign wr_data_o = fifo_data;
  assign fifo_pop = is_in ? atom_pop_i && part_q == PartBits'(AtomsPerBeat - 1)
                          : wr_ready_i && wr_valid_o;

  if (AtomsPerBeat == 1) begin : gen_whole
    assign push = is_in ? rd_valid_i && state_q == StRun : atom_valid_i;
    assign push_data = is_in ? rd_data_i : atom_i;
    assign atom_o = fifo_data;
  end else begin : gen_parts
    logic [511-AtomBytes*8:0] partial_q;
    assign push = is_in ? rd_valid_i && state_q == StRun
                        : atom_valid_i && part_q == PartBits'(AtomsPerBeat - 1);
    assign push_data = is_in ? rd_data_i : {atom_i, partial_q};
    assign atom_o = fifo_data[32'(part_q)*AtomBytes*8+:AtomBytes*8];
    always_ff @(posedge clk_i) begin
      if (atom_valid_i) partial_q[32'(part_q)*AtomBytes*8+:AtomBytes*8] <= atom_i;
    end
  end

  assign atoms_now = atoms_q + ((is_in ? push : fifo_pop) ? AtomCountBits'(AtomsPerBeat) : '0);

  assign done_o = state_q == StDone;
  assign code_o = !error_q ? pim_isa_pkg::CodeDone
                           : is_in ? pim_isa_pkg::CodeAxiRead : pim_isa_pkg::CodeAxiWrite;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      error_q <= 1'b0;
      started_q <= 1'b0;
      rows_left_q <= '0;
      addr_q <= '0;
      atoms_q <= '0;
      some_q <= 1'b0;
      reserved_q <= '0;
      part_q <= '0;
    end else if (start_i) begin
      state_q <= StRun;
      error_q <= 1'b0;
      started_q <= 1'b0;
      rows_left_q <= desc_i.rows;
      addr_q <= is_in ? desc_i.addr_y : desc_i.addr_a;
      atoms_q <= is_in ? '0 : AtomCountBits'(Atoms);
      some_q <= !is_in;
      reserved_q <= '0;
      part_q <= '0;
    end else begin
      started_q <= 1'b1;
      unique case (state_q)
        StRun: begin
          if (stream_valid_o && stream_ready_i) begin
            rows_left_q <= rows_left_q - 32'd1;
            addr_q <= addr_q + stride;
          end
          if (is_in ? rd_error_i : wr_error_i) error_q <= 1'b1;
          if (is_in ? error_q : (started_q && !wr_busy_i)) state_q <= StDrain;
          else if (is_in && started_q && rows_left_q == '0 && !rd_busy_i && !fifo_valid &&
                   memory_idle_i) begin
            state_q <= StDrain;
          end
        end
        StDrain: begin
          if (wr_error_i && !is_in) error_q <= 1'b1;
          if (memory_idle_i && !rd_busy_i && !wr_busy_i) state_q <= StDone;
        end
        StDone: state_q <= StIdle;
        default: ;
      endcase
      atoms_q <= atoms_now - AtomCountBits'(issue_i);
      some_q <= issue_i ? atoms_now != AtomCountBits'(32'd1) : atoms_now != '0;
      if (is_in) begin
        reserved_q <= reserved_q + (rd_burst_i ? BeatCountBits'(rd_burst_beats_i) : '0)
                      - BeatCountBits'(fifo_pop);
        if (atom_pop_i) part_q <= part_q + 1'b1;
      end else begin
        if (atom_valid_i) part_q <= part_q + 1'b1;
      end
      if (AtomsPerBeat == 1) part_q <= '0;
    end
  end

  // The FIFO cannot overflow: everything that enters it was reserved.
  logic unused;
  assign unused = fifo_ready;

endmodule

`default_nettype wire
