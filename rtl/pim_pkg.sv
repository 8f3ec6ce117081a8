/// Types shared by the blocks of the device; the programming interface is in pim_isa_pkg.
package pim_pkg;

  // generated:lane_op_e
  /// What the lanes do with a beat.
  typedef enum logic [3:0] {
    LaneMac = 4'd0,      // acc = fma(scalar, v, acc)
    LaneMacz = 4'd1,     // acc = fma(scalar, v, +0): first step of a sum without initial value
    LaneMul = 4'd2,      // acc = fma(bf16(acc), v, -0): -0 keeps the sign of a zero product
    LaneMuls = 4'd3,     // acc = fma(scalar, v, -0)
    LaneLoad = 4'd4,     // acc = v
    LaneLoadF32 = 4'd5,  // half of the lanes take binary32 verbatim; scalar[0] names the half
    LaneSplat = 4'd6,    // acc = scalar
    LaneRelu = 4'd7,     // acc = max(v, 0); -0 stays
    LaneMacI = 4'd8,     // as mac; v is an integer: sign, seven zeros, magnitude
    LaneMaczI = 4'd9,    // as macz; v is an integer
    LaneScale = 4'd10    // acc = fma(part of what was read last, v, acc); a subnormal v is a zero
  } lane_op_e;
  // end generated

  /// DRAM commands.
  typedef enum logic [2:0] {
    CmdNop = 3'd0,
    CmdAct = 3'd1,
    CmdPre = 3'd2,
    CmdRd = 3'd3,
    CmdWr = 3'd4,
    CmdRef = 3'd5
  } dram_cmd_e;

  // generated:timing_t
  /// DRAM timing in DRAM clocks (JEDEC names; JESD79-4 for DDR4).
  typedef struct packed {
    logic [15:0] rcd_rd;  // ACT to RD
    logic [15:0] rcd_wr;  // ACT to WR
    logic [15:0] rp;      // PRE to ACT or REF
    logic [15:0] ras;     // ACT to PRE
    logic [15:0] rc;      // ACT to ACT of the same bank or to REF
    logic [15:0] ccd_s;   // column to column, other bank group
    logic [15:0] ccd_l;   // column to column, same bank group
    logic [15:0] rrd_s;   // ACT to ACT, other bank group
    logic [15:0] rrd_l;   // ACT to ACT, same bank group
    logic [15:0] faw;     // window of four ACTs
    logic [15:0] wr;      // end of write data to PRE
    logic [15:0] rtp;     // RD to PRE
    logic [15:0] wtr_s;   // end of write data to RD, other bank group
    logic [15:0] wtr_l;   // end of write data to RD, same bank group
    logic [15:0] refi;    // average refresh interval; 0: never refreshed
    logic [15:0] rfc;     // REF to ACT or REF
    logic [15:0] xs;      // self-refresh exit to ACT or REF
    logic [15:0] xsdll;   // self-refresh exit to RD or WR: the DLL has locked
    logic [15:0] cl;      // RD to first data
    logic [15:0] cwl;     // WR to first data
    logic [15:0] bl;      // clocks of data of one burst
  } timing_t;
  // end generated

  function automatic int unsigned most(int unsigned a, int unsigned b);
    return a > b ? a : b;
  endfunction

  /// No single rule between two commands lasts longer, in DRAM clocks; but for those of a rest.
  function automatic int unsigned longest_wait(timing_t timing, int unsigned lane_spacing);
    int unsigned row, write, read, channel;
    row = most(32'(timing.rc), most(32'(timing.rcd_rd), 32'(timing.rcd_wr)));
    write = 32'(timing.cwl) + 32'(timing.bl) + most(32'(timing.wr), 32'(timing.wtr_l));
    read = 32'(timing.cl) + 32'(timing.bl) + 32'(timing.rtp) + 2;
    channel = most(most(lane_spacing, 32'(timing.ccd_l)), most(32'(timing.rrd_l), 32'(timing.faw)));
    return most(most(row, write), most(read, channel));
  endfunction

  /// No rule after a refresh or self-refresh lasts longer, in DRAM clocks.
  function automatic int unsigned longest_rest(timing_t timing);
    return most(32'(timing.rfc), most(32'(timing.xs), 32'(timing.xsdll)));
  endfunction

  /// Where the data of a read go, where the data of a write come from.
  typedef enum logic [3:0] {
    KindCopyOut = 4'd0,   // read: to the host
    KindScalar = 4'd1,    // read: scalar buffer
    KindLoad = 4'd2,      // read: bfloat16 into the accumulators
    KindLoadF32 = 4'd3,   // read: binary32 into the accumulators, two beats a group
    KindMac = 4'd4,       // read: right operand of a multiply, times a scalar
    KindEw = 4'd5,        // read: right operand of an element-wise operation
    KindBlock = 4'd6,     // read: block to be transposed
    KindCopyIn = 4'd7,    // write: from the host
    KindBf16 = 4'd8,      // write: accumulators rounded to bfloat16
    KindF32 = 4'd9,       // write: accumulators as binary32, two beats a group
    KindScale = 4'd10     // read: scales of sums
  } kind_e;

  /// A run of consecutive accesses to device memory.
  typedef struct packed {
    logic [31:0] addr;    // byte address of the first
    logic [31:0] count;   // accesses: of BeatBytes when `all`, else of AtomBytes
    kind_e kind;
    logic all;            // every bank at once (all_bank style)
    logic hold;           // wait until earlier reads are consumed and the lanes have settled
    logic [6:0] period;   // KindMac: beats of one step of the inner dimension; KindScale: all beats
    logic [2:0] row;      // of a product's group of rows; KindMac, KindScale: the last of the group
    logic more;           // the next stream goes on with the accumulators behind these
  } stream_t;

  /// A stream, or the part of one, that lies in a single page; `last` in its final part.
  typedef struct packed {
    stream_t run;
    logic last;
  } span_t;

  /// What travels with an access from its command to its data.
  typedef struct packed {
    logic valid;
    logic [31:0] addr;
    kind_e kind;
    logic all;
    logic step_end;       // last beat of a step of the inner dimension, of scales
    logic last;           // last access of the stream
    logic [2:0] row;      // as in stream_t
  } access_t;

  /// What the compute sequencer does.
  typedef enum logic [3:0] {
    SeqIdle,
    SeqScalar,    // load the scalar buffer
    SeqTile,      // next tile: its width
    SeqSetup,     // set up a vector instruction
    SeqSplat,     // fill the accumulators with one value
    SeqInit,      // load the accumulators from memory
    SeqStream,    // right operand through the lanes
    SeqScale,     // scales of sums, once for each part of them
    SeqBlock,     // announce a block, MATMUL_T
    SeqBlockRow,  // its atoms
    SeqOut,       // write the result
    SeqNext,      // next tile or row
    SeqDrain,
    SeqDone
  } seq_state_e;

  /// A two-dimensional transfer on the AXI side: `rows` rows of `bytes`.
  typedef struct packed {
    logic [63:0] addr;
    logic [31:0] rows;
    logic [31:0] bytes;   // multiple of 64
    logic [31:0] stride;
  } job_t;

  /// What pim_check_hull computes of a descriptor.
  typedef enum logic [2:0] {
    OpSize = 3'd0,        // bytes of the right operand of a product up to its last block
    OpA = 3'd1,
    OpB = 3'd2,
    OpC = 3'd3,
    OpY = 3'd4,
    OpHost = 3'd5         // the side of a copy in host memory
  } operand_e;

  /// A binary32 rounded to bfloat16, nearest even.
  function automatic logic [15:0] round_bf16(input logic [31:0] value);
    /*verilator no_inline_task*/
    if (value[30:23] == '1 && value[22:0] != '0) round_bf16 = 16'h7FC0;
    else if (value[15] && (value[16] || value[14:0] != '0)) round_bf16 = value[31:16] + 16'd1;
    else round_bf16 = value[31:16];
  endfunction

  /// Zeros before the first one of seven bits; 7 where there is none.
  function automatic logic [2:0] leading_zeros(input logic [6:0] bits);
    leading_zeros[2] = bits[6:3] == '0;
    leading_zeros[1] = bits[6:5] == '0 && (bits[4:3] != '0 || bits[2:1] == '0);
    leading_zeros[0] = !bits[6] && (bits[5] || (!bits[4] && (bits[3] || (!bits[2]
                       && (bits[1] || !bits[0])))));
  endfunction

  /// Seven bits with a one behind `zeros` zeros; none when there are seven.
  function automatic logic [6:0] stop_at(input logic [2:0] zeros);
    stop_at = 7'b1000000 >> zeros;
  endfunction

  /// The sum of four numbers and two ones. The third may come late: it passes one carry-save adder
  /// before the carries run.
  function automatic logic [9:0] sum_of(input logic [9:0] x, input logic [9:0] y,
                                        input logic [9:0] last, input logic [1:0] ones,
                                        input logic [9:0] constant);
    logic [9:0] sum, carry;
    sum = x ^ y ^ constant;
    carry = {9'((x & y) | ((x | y) & constant)), ones[0]};
    sum_of = (sum ^ carry ^ last) + {9'((sum & carry) | ((sum | carry) & last)), ones[1]};
  endfunction

  function automatic logic is_write(kind_e kind);
    return kind == KindCopyIn || kind == KindBf16 || kind == KindF32;
  endfunction

endpackage
