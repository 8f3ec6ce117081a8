`default_nettype none

/// The lanes of a beat for several rows of the left operand, behind one operation port.
///
/// `Sets` rows are worked on at the same time, each by a set of lanes of its own; the accumulators of
/// row r are in set r mod `Sets`. An arithmetic operation is for the rows 0 to `row_i`. Where these
/// are more than there are sets it takes a pass, of one clock, for every `Sets` rows; the operands
/// are kept meanwhile. A load (LaneLoad, LaneLoadF32, LaneSplat) is for the row `row_i` alone.
///
/// Integers (`weights_i`): the 16 bits of a lane hold H = 2 or 4 of them, and column h of row r is
/// worked on as row r * H + h, in the accumulators and lanes of that; `row_i` of an arithmetic
/// operation counts them so. The group of a load, of a read and of LaneScale is a beat of results, of
/// which H come from one beat of integers: it tells h too. They use the upper half of the
/// accumulators, sums the lower one. `scale_i` comes a clock before LaneScale, which is for column h of
/// all rows, and reads the sums for it.
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
  /// Static while a product runs.
  input  wire logic [1:0]                weights_i,
  /// An operation in this clock, its last or only row, and the scalars of all rows; a load takes the
  /// first one. The vector is a beat of read data, or the slice where `slice_i`.
  input  wire logic                      valid_i,
  input  wire pim_pkg::lane_op_e         op_i,
  input  wire logic [2:0]                row_i,
  input  wire logic [$clog2(Groups)-1:0] group_i,
  input  wire logic [Parts-1:0]          mask_i,
  input  wire logic [Rows-1:0][15:0]     scalars_i,
  input  wire logic [Lanes*16-1:0]       beat_i,
  input  wire logic                      slice_i,
  input  wire logic [Lanes*16-1:0]       slice_data_i,
  /// The next operation is LaneScale: its beat of results, the part of the sums.
  input  wire logic                      scale_i,
  input  wire logic [$clog2(Groups)-1:0] scale_group_i,
  input  wire logic [1:0]                scale_part_i,
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

  typedef logic [$clog2(Groups)-1:0] group_t;

  // Integers in the 16 bits of a lane, less one.
  logic [2:0] rest;
  logic integers;
  assign integers = Rows > 1 && weights_i != pim_isa_pkg::WeightsBf16;
  assign rest = !integers ? 3'd0 : weights_i == pim_isa_pkg::WeightsW8 ? 3'd1 : 3'd3;

  // Where a beat of results of a row is: the row of its accumulators, and which of them.
  function automatic logic [2:0] place_of(logic [2:0] of, group_t beat);
    place_of = integers ? (of << weights_i) | (3'(beat) & rest) : of;
  endfunction

  function automatic group_t sums_of(group_t beat);
    sums_of = integers ? beat >> weights_i : beat;
  endfunction

  function automatic group_t results_of(group_t beat);
    results_of = sums_of(beat);
    if (integers) results_of[$clog2(Groups)-1] = 1'b1;
  endfunction

  // The operation as the sets see it: its row and accumulators, a scalar for each of the rows.
  logic load, scales;
  logic [2:0] row_in, column_in;
  group_t group_in;
  logic [Rows-1:0][15:0] scalars_in;

  assign load = op_i inside {pim_pkg::LaneLoad, pim_pkg::LaneLoadF32, pim_pkg::LaneSplat};
  assign scales = op_i == pim_pkg::LaneScale;
  assign row_in = load ? place_of(row_i, group_i) : row_i;
  assign group_in = load || scales ? results_of(group_i) : group_i;
  assign column_in = 3'(group_i) & rest;
  for (genvar r = 0; r < Rows; r++) begin : gen_scalars
    assign scalars_in[r] = !integers ? scalars_i[r]
        : weights_i == pim_isa_pkg::WeightsW8 ? scalars_i[r / 2] : scalars_i[r / 4];
  end

  // What the sets of lanes do in this clock.
  logic is_load, valid, scale_more;
  logic [2:0] slot, row;           // rows of each set before this one; last row, from this slot on
  logic [2:0] column;              // LaneScale: which of the columns of a row
  logic [1:0] part_q;
  logic [Sets-1:0] set_valid;
  pim_pkg::lane_op_e op;
  logic [$clog2(Groups)-1:0] group;
  logic [Parts-1:0] mask;
  logic [Sets-1:0][15:0] scalars;
  logic [Lanes*16-1:0] vector_in, vector;
  assign vector_in = slice_i ? slice_data_i : beat_i;

  if (Passes == 1) begin : gen_pass
    assign valid = valid_i;
    assign slot = '0;
    assign row = row_in;
    assign op = op_i;
    assign group = group_in;
    assign column = column_in;
    assign mask = mask_i;
    assign scalars = scalars_in;
    assign scale_more = 1'b0;
    assign part_q = '0;
    assign vector = vector_in;
    logic unused;
    assign unused = rst_ni;
  end else begin : gen_passes
    logic more, more_q;
    logic [2:0] pass_q, row_q, column_q;
    pim_pkg::lane_op_e op_q;
    logic [$clog2(Groups)-1:0] group_q;
    logic [Parts-1:0] mask_q;
    logic [Rows-1:0][15:0] scalars_q;
    logic [Lanes*16-1:0] vector_q;

    assign more = valid_i && !load && row_in >= 3'(Sets);
    assign valid = valid_i || more_q;
    assign slot = more_q ? pass_q : load ? row_in >> SetBits : '0;
    assign row = more_q ? row_q : load ? row_in & SetMask : row_in;
    assign op = more_q ? op_q : op_i;
    assign group = more_q ? group_q : group_in;
    assign column = more_q ? column_q : column_in;
    assign mask = more_q ? mask_q : mask_i;
    assign scalars = more_q ? scalars_q[Sets-1:0] : scalars_in[Sets-1:0];
    assign vector = more_q ? vector_q : vector_in;
    // The sums of the next pass are read while the ones before are scaled.
    assign scale_more = valid && op == pim_pkg::LaneScale && row >= 3'(Sets);

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
        group_q <= group_in;
        column_q <= column_in;
        mask_q <= mask_i;
        vector_q <= vector_in;
      end
      if (more || more_q) scalars_q <= (more_q ? scalars_q : scalars_in) >> (16 * Sets);
      if (scale_i) part_q <= scale_part_i;
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
      set_valid[s] = valid && (is_load ? 3'(s) == row : 3'(s) <= row) &&
          (op != pim_pkg::LaneScale || ((slot * 3'(Sets) + 3'(s)) & rest) == column);
      rows_o += 4'(set_valid[s] && !is_load);
    end
  end

  logic [Sets-1:0][Lanes*16-1:0] bf16;
  logic [Sets-1:0][Lanes*32-1:0] f32;
  logic [2:0] read_row, read_slot;
  logic [1:0] read_part;
  group_t read_group;

  assign read_row = place_of(read_row_i, read_group_i);
  always_comb begin
    read_slot = read_row >> SetBits;
    read_group = results_of(read_group_i);
    read_part = scale_part_i;
    if (scale_i) begin
      read_slot = '0;
      read_group = sums_of(scale_group_i);
    end else if (scale_more) begin
      read_slot = slot + 3'd1;
      read_group = group;
      read_group[$clog2(Groups)-1] = 1'b0;
      read_part = part_q;
    end
  end

  for (genvar s = 0; s < Sets; s++) begin : gen_set
    localparam logic [2:0] Set = 3'(s);
    logic [15:0] scalar;
    logic [Lanes*16-1:0] operand;
    logic read;
    assign scalar = is_load ? scalars[0] : scalars[s];
    assign read = scale_i || scale_more || (read_i && (read_row & SetMask) == Set);
    if (Rows == 1 && NativeLanes) begin : gen_choose
      // The lanes choose: here a simulator would do so in every clock.
      logic unused;
      assign unused = ^vector;
      assign operand = beat_i;
    end else if (Rows == 1) begin : gen_plain
      assign operand = vector;
    end else begin : gen_unpack
      pim_lane_unpack #(
        .Lanes(Lanes)
      ) u_unpack (
        .weights_i, .integers_i(op inside {pim_pkg::LaneMacI, pim_pkg::LaneMaczI}),
        .column_i((slot * 3'(Sets) + Set) & rest), .vector_i(vector), .vector_o(operand)
      );
    end
    if (NativeLanes) begin : gen_native
      pim_lanes_native_sim #(
        .Lanes(Lanes), .Groups(Groups * Passes), .Parts(Parts)
      ) u_lanes (
        .clk_i, .valid_i(set_valid[s]), .op_i(op), .group_i(IndexBits'({slot, group})),
        .mask_i(mask), .scalar_i(scalar), .vector_i(operand), .slice_i(slice_i && Rows == 1),
        .slice_data_i, .read_i(read), .read_group_i(IndexBits'({read_slot, read_group})),
        .read_part_i(read_part), .read_bf16_o(bf16[s]), .read_f32_o(f32[s])
      );
    end else if (ControlOnly) begin : gen_stand_in
      pim_lanes_stand_in #(
        .Lanes(Lanes), .Groups(Groups * Passes), .Parts(Parts), .Latency(Latency),
        .Integers(Rows > 1)
      ) u_lanes (
        .clk_i, .valid_i(set_valid[s]), .op_i(op), .group_i(IndexBits'({slot, group})),
        .mask_i(mask), .scalar_i(scalar), .vector_i(operand), .read_i(read),
        .read_group_i(IndexBits'({read_slot, read_group})), .read_part_i(read_part),
        .read_bf16_o(bf16[s]), .read_f32_o(f32[s])
      );
    end else begin : gen_rtl
      pim_lanes #(
        .Lanes(Lanes), .Groups(Groups * Passes), .Parts(Parts), .Latency(Latency),
        .Integers(Rows > 1)
      ) u_lanes (
        .clk_i, .valid_i(set_valid[s]), .op_i(op), .group_i(IndexBits'({slot, group})),
        .mask_i(mask), .scalar_i(scalar), .vector_i(operand), .read_i(read),
        .read_group_i(IndexBits'({read_slot, read_group})), .read_part_i(read_part),
        .read_bf16_o(bf16[s]), .read_f32_o(f32[s])
      );
    end
  end

  if (Sets == 1) begin : gen_one_set
    assign read_bf16_o = bf16[0];
    assign read_f32_o = f32[0];
  end else begin : gen_read
    logic [SetBits-1:0] read_set_q;
    always_ff @(posedge clk_i) if (read_i) read_set_q <= read_row[SetBits-1:0];
    assign read_bf16_o = bf16[read_set_q];
    assign read_f32_o = f32[read_set_q];
  end

endmodule

`default_nettype wire
