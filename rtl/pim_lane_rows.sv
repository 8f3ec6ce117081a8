`default_nettype none

/// The lanes of a beat for several rows of the left operand, behind one operation port.
///
/// `Sets` rows are worked on at the same time, each by a set of lanes of its own; the accumulators of
/// row r are in set r mod `Sets`. An arithmetic operation is for the rows 0 to `row_i`. Where these
/// are more than there are sets it takes a pass, of one clock, for every `Sets` rows; the operands
/// are kept meanwhile. A load (LaneLoad, LaneLoadF32, LaneSplat) is for the row `row_i` alone.
///
/// Latency: pim_lanes, in each pass. No back-pressure: the next operation must not come before the
/// last pass is over. A read is as in pim_lanes.
module pim_lane_rows #(
  /// Lanes of a set, which are the elements of a beat; even.
  parameter int unsigned Lanes = 32,
  /// Accumulators of a lane for each row, a power of two of at least 2.
  parameter int unsigned Groups = 16,
  /// Parts of the lane mask, of Lanes / Parts lanes each; at most 32.
  parameter int unsigned Parts = 1,
  /// Clocks the control keeps between operations on one set of accumulators.
  parameter int unsigned Latency = 4,
  /// Rows: 1, 2, 4 or 8; those at the same time, a power of two that divides them.
  parameter int unsigned Rows = 1,
  parameter int unsigned Sets = 1,
  /// 1: the lanes are DPI code.
  parameter bit NativeLanes = 1'b0,
  /// 1: registers stand in for the lanes (rtl/synth).
  parameter bit ControlOnly = 1'b0
) (
  input  wire logic                      clk_i,
  input  wire logic                      rst_ni,
  /// An operation in this clock, its last or only row, and the scalars of all rows; a load takes the
  /// first one.
  input  wire logic                      valid_i,
  input  wire pim_pkg::lane_op_e         op_i,
  input  wire logic [2:0]                row_i,
  input  wire logic [$clog2(Groups)-1:0] group_i,
  input  wire logic [Parts-1:0]          mask_i,
  input  wire logic [Rows-1:0][15:0]     scalars_i,
  input  wire logic [Lanes*16-1:0]       vector_i,
  /// Read accumulators of a row into the output registers.
  input  wire logic                      read_i,
  input  wire logic [2:0]                read_row_i,
  input  wire logic [$clog2(Groups)-1:0] read_group_i,
  output logic      [Lanes*16-1:0]       read_bf16_o,
  output logic      [Lanes*32-1:0]       read_f32_o,
  /// Rows that are multiplied and added in this clock.
  output logic      [3:0]                rows_o
);

  localparam int unsigned Passes = Rows / Sets;
  localparam int unsigned SetBits = $clog2(Sets);
  localparam int unsigned IndexBits = $clog2(Groups * Passes);
  localparam logic [2:0] SetMask = 3'(Sets - 1);

  if (!(Rows inside {1, 2, 4, 8}) || Sets < 1 || Rows % Sets != 0 || (Sets & (Sets - 1)) != 0)
  begin : gen_check
    $error("%m: Rows must be 1, 2, 4 or 8, and Sets a power of two that divides it");
  end

  // What the sets of lanes do in this clock.
  logic is_load, valid;
  logic [2:0] slot, row;           // rows of each set before this one; last row, from this slot on
  logic [Sets-1:0] set_valid;
  pim_pkg::lane_op_e op;
  logic [$clog2(Groups)-1:0] group;
  logic [Parts-1:0] mask;
  logic [Sets-1:0][15:0] scalars;
  logic [Lanes*16-1:0] vector;

  if (Passes == 1) begin : gen_pass
    assign valid = valid_i;
    assign slot = '0;
    assign row = row_i;
    assign op = op_i;
    assign group = group_i;
    assign mask = mask_i;
    assign scalars = scalars_i;
    assign vector = vector_i;
    logic unused;
    assign unused = rst_ni;
  end else begin : gen_passes
    logic more, load, more_q;
    logic [2:0] pass_q, row_q;
    pim_pkg::lane_op_e op_q;
    logic [$clog2(Groups)-1:0] group_q;
    logic [Parts-1:0] mask_q;
    logic [Rows-1:0][15:0] scalars_q;
    logic [Lanes*16-1:0] vector_q;

    assign load = op_i inside {pim_pkg::LaneLoad, pim_pkg::LaneLoadF32, pim_pkg::LaneSplat};
    assign more = valid_i && !load && row_i >= 3'(Sets);
    assign valid = valid_i || more_q;
    assign slot = more_q ? pass_q : load ? row_i >> SetBits : '0;
    assign row = more_q ? row_q : load ? row_i & SetMask : row_i;
    assign op = more_q ? op_q : op_i;
    assign group = more_q ? group_q : group_i;
    assign mask = more_q ? mask_q : mask_i;
    assign scalars = more_q ? scalars_q[Sets-1:0] : scalars_i[Sets-1:0];
    assign vector = more_q ? vector_q : vector_i;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        more_q <= 1'b0;
        pass_q <= '0;
        row_q <= '0;
      end else if (more || more_q) begin
        more_q <= row >= 3'(Sets);
        pass_q <= slot + 3'd1;
        row_q <= row - 3'(Sets);
      end
    end

    always_ff @(posedge clk_i) begin
      if (more) begin
        op_q <= op_i;
        group_q <= group_i;
        mask_q <= mask_i;
        vector_q <= vector_i;
      end
      if (more || more_q) scalars_q <= (more_q ? scalars_q : scalars_i) >> (16 * Sets);
    end

`ifndef SYNTHESIS
    always_ff @(posedge clk_i) begin
      if (rst_ni) begin
        assert (!(valid_i && more_q))
        else $error("%m: an operation before the last one has met all its rows");
      end
    end
`endif
  end

  assign is_load = op inside {pim_pkg::LaneLoad, pim_pkg::LaneLoadF32, pim_pkg::LaneSplat};

  always_comb begin
    rows_o = '0;
    for (int unsigned s = 0; s < Sets; s++) begin
      set_valid[s] = valid && (is_load ? 3'(s) == row : 3'(s) <= row);
      rows_o += 4'(set_valid[s] && !is_load);
    end
  end

  logic [Sets-1:0][Lanes*16-1:0] bf16;
  logic [Sets-1:0][Lanes*32-1:0] f32;
  logic [2:0] read_slot;

  assign read_slot = read_row_i >> SetBits;

  for (genvar s = 0; s < Sets; s++) begin : gen_set
    localparam logic [2:0] Set = 3'(s);
    logic [15:0] scalar;
    logic read;
    assign scalar = is_load ? scalars[0] : scalars[s];
    assign read = read_i && (read_row_i & SetMask) == Set;
    if (NativeLanes) begin : gen_native
      pim_lanes_native_sim #(
        .Lanes(Lanes), .Groups(Groups * Passes), .Parts(Parts)
      ) u_lanes (
        .clk_i, .valid_i(set_valid[s]), .op_i(op), .group_i(IndexBits'({slot, group})),
        .mask_i(mask), .scalar_i(scalar), .vector_i(vector), .read_i(read),
        .read_group_i(IndexBits'({read_slot, read_group_i})), .read_bf16_o(bf16[s]),
        .read_f32_o(f32[s])
      );
    end else if (ControlOnly) begin : gen_stand_in
      pim_lanes_stand_in #(
        .Lanes(Lanes), .Groups(Groups * Passes), .Parts(Parts), .Latency(Latency)
      ) u_lanes (
        .clk_i, .valid_i(set_valid[s]), .op_i(op), .group_i(IndexBits'({slot, group})),
        .mask_i(mask), .scalar_i(scalar), .vector_i(vector), .read_i(read),
        .read_group_i(IndexBits'({read_slot, read_group_i})), .read_bf16_o(bf16[s]),
        .read_f32_o(f32[s])
      );
    end else begin : gen_rtl
      pim_lanes #(
        .Lanes(Lanes), .Groups(Groups * Passes), .Parts(Parts), .Latency(Latency)
      ) u_lanes (
        .clk_i, .valid_i(set_valid[s]), .op_i(op), .group_i(IndexBits'({slot, group})),
        .mask_i(mask), .scalar_i(scalar), .vector_i(vector), .read_i(read),
        .read_group_i(IndexBits'({read_slot, read_group_i})), .read_bf16_o(bf16[s]),
        .read_f32_o(f32[s])
      );
    end
  end

  if (Sets == 1) begin : gen_one_set
    assign read_bf16_o = bf16[0];
    assign read_f32_o = f32[0];
  end else begin : gen_read
    logic [SetBits-1:0] read_set_q;
    always_ff @(posedge clk_i) if (read_i) read_set_q <= read_row_i[SetBits-1:0];
    assign read_bf16_o = bf16[read_set_q];
    assign read_f32_o = f32[read_set_q];
  end

endmodule

`default_nettype wire
