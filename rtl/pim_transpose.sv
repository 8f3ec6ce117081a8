`default_nettype none

/// Turns blocks of the right operand on their side for Y = A x B^T.
///
/// A block is up to `Size` * `Copies` atoms (rows of B, that is output columns of a beat) of `Size`
/// elements along the inner dimension. It leaves as slices of one inner element for all of these
/// columns, so that the lanes add in the same order as for Y = A x B and give the same bits. Atom c
/// is row c / `Copies` of square c mod `Copies`; an access to all banks brings a row of each square.
///
/// Slices of a block work on the same accumulators: they go out `Spacing` clocks apart. Blocks that do
/// not may be in different ways: slices of one leave between those of another, as far apart as the
/// lanes need for a slice. A way has two buffers: one is filled while the other leaves.
module pim_transpose #(
  /// Elements of an atom; a power of two.
  parameter int unsigned Size = 32,
  /// Squares of a block: atoms of a beat.
  parameter int unsigned Copies = 1,
  /// Ways; a power of two.
  parameter int unsigned Ways = 1,
  /// Bits of the tag that goes with a block.
  parameter int unsigned TagBits = 8,
  /// Clocks between two slices of a block; most clocks that the lanes need for a slice.
  parameter int unsigned Spacing = 4,
  parameter int unsigned Passes = 1,
  /// Bits of an index into the inner dimension.
  parameter int unsigned IndexBits = 12,
  /// 1: memories for fast simulation.
  parameter bit Native = 1'b0
) (
  input  wire logic                      clk_i,
  input  wire logic                      rst_ni,
  /// Drop everything.
  input  wire logic                      flush_i,
  /// Announce a block: its tag (its way in the low bits), the inner index of its first slice, its
  /// slices (1..Size), its atoms, clocks of the lanes for each of its slices (1..Passes).
  input  wire logic                      open_i,
  input  wire logic [TagBits-1:0]        tag_i,
  input  wire logic [IndexBits-1:0]      base_i,
  input  wire logic [$clog2(Size+1)-1:0] slices_i,
  input  wire logic [$clog2(Size*Copies+1)-1:0] atoms_i,
  input  wire logic [$clog2(Passes+1)-1:0] passes_i,
  /// A block may be announced in the way of `tag_i`.
  output logic                           room_o,
  /// Next atom of the oldest block that is not complete; with `all_i` `Copies` of them.
  input  wire logic                      valid_i,
  input  wire logic                      all_i,
  input  wire logic [Copies*Size*16-1:0] data_i,
  /// A slice, with the tag of its block.
  output logic                           valid_o,
  output logic      [Copies*Size*16-1:0] data_o,
  output logic      [TagBits-1:0]        tag_o,
  /// A slice leaves in the next clock; its inner index.
  output logic                           next_o,
  output logic      [IndexBits-1:0]      index_o,
  /// No block is announced and nothing is counted: the clock may stop until the next announcement.
  output logic                           idle_o
);

  localparam int unsigned RowBits = $clog2(Size);
  localparam int unsigned CountBits = $clog2(Size + 1);
  localparam int unsigned AtomBits = $clog2(Size * Copies + 1);
  localparam int unsigned CopyBits = Copies > 1 ? $clog2(Copies) : 1;
  localparam int unsigned WayBits = Ways > 1 ? $clog2(Ways) : 1;
  localparam int unsigned GapBits = $clog2(Spacing + 1);
  localparam int unsigned WaitBits = $clog2(2 * Ways + 1);
  localparam int unsigned PassBits = $clog2(Passes + 1);
  typedef logic [WayBits-1:0] way_t;
  typedef logic [$clog2(2*Ways)-1:0] buffer_t;

  if ((Ways & (Ways - 1)) != 0 || (Copies & (Copies - 1)) != 0) begin : gen_check
    $error("%m: Ways and Copies must be powers of two");
  end

  // The two buffers of each way.
  logic [Ways-1:0][1:0] open_q, full_q;
  logic [Ways-1:0] open_sel_q, fill_sel_q, drain_sel_q;
  logic [TagBits-1:0] tags_q [2*Ways];
  logic [IndexBits-1:0] base_q [2*Ways];
  logic [CountBits-1:0] slices_q [2*Ways];
  logic [AtomBits-1:0] atoms_q [2*Ways];
  logic [PassBits-1:0] passes_q [2*Ways];
  logic [Ways-1:0][CountBits-1:0] slice_q;
  logic [Ways-1:0][GapBits-1:0] gap_q;
  logic [PassBits-1:0] pass_q;

  // The ways of the blocks that are announced and not complete, the oldest first.
  way_t order_q [2*Ways];
  logic [WaitBits-1:0] waiting_q;
  logic [AtomBits-1:0] filled_q, filled;

  way_t open_way, fill_way, drain_way, leave_way_q;
  buffer_t open_buffer, fill_buffer, drain_buffer;
  logic complete, starts, block_end, leaves_q, leave_sel_q;
  logic [Ways-1:0] due, ready;
  logic [TagBits-1:0] tag_q;
  logic [CopyBits-1:0] copy;
  logic [RowBits-1:0] row, column;

  assign open_way = Ways > 1 ? tag_i[WayBits-1:0] : '0;
  assign open_buffer = buffer_t'({open_way, open_sel_q[open_way]});
  assign room_o = !open_q[open_way][open_sel_q[open_way]];
  assign idle_o = open_q == '0 && gap_q == '0 && pass_q == '0;

  // ---- filling --------------------------------------------------------------------------
  assign fill_way = order_q[0];
  assign fill_buffer = buffer_t'({fill_way, fill_sel_q[fill_way]});
  assign filled = filled_q + (all_i ? AtomBits'(Copies) : AtomBits'(1));
  assign complete = valid_i && filled == atoms_q[fill_buffer];
  assign copy = Copies > 1 ? filled_q[CopyBits-1:0] : '0;
  assign row = RowBits'(filled_q >> $clog2(Copies));

  // ---- leaving --------------------------------------------------------------------------
  // A slice is read: also in the clock that completes its block.
  always_comb begin
    drain_way = '0;
    due = '0;
    ready = '0;
    // A simulator need not look where nothing is announced.
    if (!Native || !idle_o) begin
      for (int unsigned w = 0; w < Ways; w++) begin
        due[w] = gap_q[w] == '0 && pass_q == '0;
        ready[w] = due[w] && (full_q[w][drain_sel_q[w]] ||
            (complete && fill_way == way_t'(w) && fill_sel_q[w] == drain_sel_q[w]));
      end
      for (int unsigned w = Ways; w > 0; w--) begin
        if (ready[w-1]) drain_way = way_t'(w - 1);
      end
    end
  end

  assign starts = ready != '0;
  assign drain_buffer = buffer_t'({drain_way, drain_sel_q[drain_way]});
  assign block_end = slice_q[drain_way] + 1'b1 == slices_q[drain_buffer];
  assign column = RowBits'(slice_q[drain_way]);

  always_ff @(posedge clk_i) begin
    if (starts) begin
      tag_q <= tags_q[drain_buffer];
      index_o <= base_q[drain_buffer] + IndexBits'(slice_q[drain_way]);
    end
    if (next_o) tag_o <= tag_q;
  end

  if (Native) begin : gen_native
    pim_transpose_block_sim #(
      .Size(Size),
      .Copies(Copies),
      .Squares(2 * Ways)
    ) u_block (
      .clk_i,
      .write_i(valid_i),
      .write_all_i(all_i),
      .write_copy_i(copy),
      .write_square_i(fill_buffer),
      .write_row_i(row),
      .data_i,
      .read_i(due != '0),
      .read_square_i(drain_buffer),
      .read_column_i(column),
      .step_i(next_o),
      .data_o
    );
  end else begin : gen_squares
    for (genvar c = 0; c < Copies; c++) begin : gen_copy
      logic [Size*16-1:0] turned;
      pim_transpose_square #(
        .Size(Size),
        .Squares(2 * Ways)
      ) u_square (
        .clk_i,
        .write_i(valid_i && (all_i || copy == CopyBits'(unsigned'(c)))),
        .write_square_i(fill_buffer),
        .write_row_i(row),
        .data_i(all_i ? data_i[c*Size*16+:Size*16] : data_i[Size*16-1:0]),
        // In vain where no block is full: so the many memories do not wait for the count of atoms.
        .read_i(due != '0),
        .read_square_i(drain_buffer),
        .read_column_i(column),
        .step_i(next_o),
        .out_i(valid_o),
        .data_o(turned)
      );
      for (genvar r = 0; r < Size; r++) begin : gen_row
        assign data_o[(r*Copies+c)*16+:16] = turned[r*16+:16];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || flush_i) begin
      open_q <= '0;
      full_q <= '0;
      open_sel_q <= '0;
      fill_sel_q <= '0;
      drain_sel_q <= '0;
      slice_q <= '0;
      gap_q <= '0;
      pass_q <= '0;
      waiting_q <= '0;
      filled_q <= '0;
      for (int unsigned i = 0; i < 2 * Ways; i++) begin
        tags_q[i] <= '0;
        base_q[i] <= '0;
        slices_q[i] <= '0;
        atoms_q[i] <= '0;
        passes_q[i] <= '0;
        order_q[i] <= '0;
      end
      next_o <= 1'b0;
      valid_o <= 1'b0;
      leaves_q <= 1'b0;
      leave_sel_q <= 1'b0;
      leave_way_q <= '0;
    end else begin
      next_o <= starts;
      valid_o <= next_o;
      for (int unsigned w = 0; w < Ways; w++) begin
        if (gap_q[w] != '0) gap_q[w] <= gap_q[w] - 1'b1;
      end
      if (pass_q != '0) pass_q <= pass_q - 1'b1;
      if (valid_i) filled_q <= complete ? '0 : filled;
      if (complete) begin
        full_q[fill_way][fill_sel_q[fill_way]] <= 1'b1;
        fill_sel_q[fill_way] <= !fill_sel_q[fill_way];
        waiting_q <= waiting_q - 1'b1;
        for (int unsigned i = 0; i + 1 < 2 * Ways; i++) order_q[i] <= order_q[i+1];
      end
      if (open_i && room_o) begin
        open_q[open_way][open_sel_q[open_way]] <= 1'b1;
        open_sel_q[open_way] <= !open_sel_q[open_way];
        tags_q[open_buffer] <= tag_i;
        base_q[open_buffer] <= base_i;
        slices_q[open_buffer] <= slices_i;
        atoms_q[open_buffer] <= atoms_i;
        passes_q[open_buffer] <= passes_i;
        order_q[buffer_t'(waiting_q - WaitBits'(complete))] <= open_way;
        waiting_q <= waiting_q + 1'b1 - WaitBits'(complete);
      end
      // The last slice has been read; the block is over when it leaves.
      leaves_q <= starts && block_end;
      leave_sel_q <= drain_sel_q[drain_way];
      leave_way_q <= drain_way;
      if (starts) begin
        gap_q[drain_way] <= GapBits'(Spacing - 1);
        pass_q <= passes_q[drain_buffer] - 1'b1;
        slice_q[drain_way] <= block_end ? '0 : slice_q[drain_way] + 1'b1;
        if (block_end) begin
          full_q[drain_way][drain_sel_q[drain_way]] <= 1'b0;
          drain_sel_q[drain_way] <= !drain_sel_q[drain_way];
        end
      end
      if (leaves_q) open_q[leave_way_q][leave_sel_q] <= 1'b0;
    end
  end

endmodule

`default_nettype wire
