/// Types shared by the blocks of the device; the programming interface is in pim_isa_pkg.
package pim_pkg;

  /// What the lanes do with a beat.
  typedef enum logic [2:0] {
    LaneMac = 3'd0,      // acc = fma(scalar, v, acc)
    LaneMacz = 3'd1,     // acc = fma(scalar, v, +0): first step of a sum without initial value
    LaneMul = 3'd2,      // acc = fma(bf16(acc), v, -0): -0 keeps the sign of a zero product
    LaneMuls = 3'd3,     // acc = fma(scalar, v, -0)
    LaneLoad = 3'd4,     // acc = v
    LaneLoadF32 = 3'd5,  // half of the lanes take binary32 verbatim; scalar[0] names the half
    LaneSplat = 3'd6     // acc = scalar
  } lane_op_e;

  /// DRAM commands.
  typedef enum logic [2:0] {
    CmdNop = 3'd0,
    CmdAct = 3'd1,
    CmdPre = 3'd2,
    CmdRd = 3'd3,
    CmdWr = 3'd4,
    CmdRef = 3'd5
  } dram_cmd_e;

  /// DRAM timing in DRAM clocks (JEDEC names; JESD79-4 for DDR4).
  typedef struct packed {
    logic [15:0] rcd_rd;  // ACT to RD
    logic [15:0] rcd_wr;  // ACT to WR
    logic [15:0] rp;      // PRE to ACT
    logic [15:0] ras;     // ACT to PRE
    logic [15:0] rc;      // ACT to ACT, same bank
    logic [15:0] ccd_s;   // column to column, other bank group
    logic [15:0] ccd_l;   // column to column, same bank group
    logic [15:0] rrd_s;   // ACT to ACT, other bank group
    logic [15:0] rrd_l;   // ACT to ACT, same bank group
    logic [15:0] faw;     // window of four ACTs
    logic [15:0] wr;      // end of write data to PRE
    logic [15:0] rtp;     // RD to PRE
    logic [15:0] wtr_s;   // end of write data to RD, other bank group
    logic [15:0] wtr_l;   // end of write data to RD, same bank group
    logic [15:0] refi;    // average refresh interval
    logic [15:0] rfc;     // REF to ACT
    logic [15:0] xs;      // self-refresh exit to ACT
    logic [15:0] cl;      // RD to first data
    logic [15:0] cwl;     // WR to first data
    logic [15:0] bl;      // clocks of data of one burst
  } timing_t;

endpackage
