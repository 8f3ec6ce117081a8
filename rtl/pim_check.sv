`default_nettype none

/// Validates a descriptor before anything is done with it.
///
/// The order of the checks is part of the interface: of several faults the first one here is
/// reported. Address ranges are hulls, from the first byte of the first row to the last byte of
/// the last row; they are computed one after the other with one multiplier. `done_o` is up for
/// one clock, at most 24 clocks after `start_i`; `code_o` is CodeDone for a good descriptor.
module pim_check #(
  /// Bytes of device memory.
  parameter longint unsigned Capacity = 512 * 1024 * 1024,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned BeatBytes = 64,
  parameter int unsigned AccGroups = 16,
  parameter int unsigned ScalarDepth = 4096
) (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  input  wire logic                     start_i,
  input  wire pim_isa_pkg::descriptor_t desc_i,
  /// Host address of the descriptor.
  input  wire logic [63:0]              desc_addr_i,
  /// Range of host memory that may be touched: first byte and bytes.
  input  wire logic [63:0]              window_base_i,
  input  wire logic [63:0]              window_size_i,
  output logic                          done_o,
  output      pim_isa_pkg::code_e       code_o
);

  localparam int unsigned BeatElems = BeatBytes / 2;
  localparam int unsigned AtomElems = AtomBytes / 2;
  localparam int unsigned BeatElemBits = $clog2(BeatElems);
  localparam int unsigned AtomElemBits = $clog2(AtomElems);
  localparam int unsigned BeatBits = $clog2(BeatBytes);
  localparam int unsigned AtomBits = $clog2(AtomBytes);

  // Wide enough for any sum of products of 32-bit fields and a 64-bit address.
  typedef logic [66:0] wide_t;
  localparam wide_t LastAddress = {3'd1, 64'd0};

  typedef enum logic [3:0] {
    StIdle, StStatic, StSize, StRows, StHull, StSum, StHost, StOverlap, StDone
  } state_e;
  typedef enum logic [2:0] { OpA, OpB, OpC, OpY, OpHost } operand_e;

  state_e state_q;
  operand_e operand_q;
  pim_isa_pkg::code_e code_q;
  pim_isa_pkg::descriptor_t desc_q;
  logic [63:0] product_q;
  wide_t b_bytes_q;
  wide_t start_q [4];
  wide_t end_q [4];
  wide_t host_end_q;

  pim_isa_pkg::opcode_e opcode;
  logic is_copy, is_product, is_vector, has_right;
  assign opcode = pim_isa_pkg::opcode_e'(desc_q.control.opcode);
  assign is_copy = pim_isa_pkg::is_copy(opcode);
  assign is_product = pim_isa_pkg::is_product(opcode);
  assign is_vector = pim_isa_pkg::is_vector(opcode);
  assign has_right = is_product || pim_isa_pkg::is_elementwise(opcode);

  pim_isa_pkg::broadcast_e broadcast;
  pim_isa_pkg::init_e init;
  assign broadcast = pim_isa_pkg::broadcast_e'(desc_q.control.broadcast);
  assign init = pim_isa_pkg::init_e'(desc_q.control.init);

  // ---- checks that need no arithmetic ---------------------------------------------------
  // Functions, so that nothing of this is evaluated but in the state that needs it.
  function automatic logic off_beat(logic [31:0] value);
    return value[BeatBits-1:0] != '0;
  endfunction

  function automatic logic off_atom(logic [31:0] value);
    return value[AtomBits-1:0] != '0;
  endfunction

  function automatic pim_isa_pkg::code_e static_code();
    logic size, misaligned;
    size = 1'b0;
    misaligned = opcode != pim_isa_pkg::OpcodeEnd && desc_q.next_lo[5:0] != '0;
    if (is_copy) begin
      size = desc_q.rows == '0 || desc_q.inner == '0 || desc_q.inner[5:0] != '0;
      misaligned |= desc_q.host_lo[5:0] != '0 || desc_q.stride_a[5:0] != '0 ||
          desc_q.stride_y[5:0] != '0 ||
          (opcode == pim_isa_pkg::OpcodeCopyIn ? desc_q.addr_y[5:0] : desc_q.addr_a[5:0]) != '0;
    end
    if (is_product) begin
      size = desc_q.rows == '0 || desc_q.inner == '0 || desc_q.inner > ScalarDepth ||
          desc_q.cols == '0;
      misaligned |= off_beat(desc_q.addr_a) || off_beat(desc_q.addr_y) ||
          off_beat(desc_q.stride_a) || off_beat(desc_q.stride_y);
      if (init == pim_isa_pkg::InitRow) misaligned |= off_beat(desc_q.host_lo);
      if (init == pim_isa_pkg::InitF32) begin
        misaligned |= off_beat(desc_q.host_lo) || off_beat(desc_q.host_hi);
      end
      if (opcode == pim_isa_pkg::OpcodeMatmul) begin
        size |= desc_q.cols[BeatElemBits-1:0] != '0 || desc_q.tile == '0 ||
            desc_q.tile > AccGroups;
        misaligned |= off_beat(desc_q.addr_b);
      end else begin
        size |= desc_q.cols[AtomElemBits-1:0] != '0;
        misaligned |= off_atom(desc_q.addr_b) || off_atom(desc_q.stride_b) ||
            off_atom(desc_q.tile);
      end
    end
    if (is_vector) begin
      size = desc_q.rows == '0 || desc_q.cols == '0 || desc_q.cols[BeatElemBits-1:0] != '0 ||
          (broadcast == pim_isa_pkg::BroadcastColumn && desc_q.rows > ScalarDepth);
      misaligned |= off_beat(desc_q.addr_a) || off_beat(desc_q.addr_y) ||
          off_beat(desc_q.stride_a) || off_beat(desc_q.stride_y);
      if (has_right) begin
        misaligned |= off_beat(desc_q.addr_b);
        if (broadcast == pim_isa_pkg::BroadcastNone) misaligned |= off_beat(desc_q.stride_b);
      end
    end

    if (!pim_isa_pkg::is_known(opcode)) return pim_isa_pkg::CodeOpcode;
    if (pim_isa_pkg::has_undefined_option(desc_q.control)) return pim_isa_pkg::CodeReserved;
    if (size) return pim_isa_pkg::CodeSize;
    if (misaligned) return pim_isa_pkg::CodeMisaligned;
    return pim_isa_pkg::CodeDone;
  endfunction

  // ---- hulls ----------------------------------------------------------------------------
  // An operand: does it exist, where are its rows, how long is one.
  typedef struct packed {
    logic exists;
    logic [31:0] addr;
    logic [31:0] rows;
    logic [31:0] stride;
    wide_t row_bytes;
  } rows_t;
  rows_t rows_q;

  // Columns padded to whole beats.
  function automatic wide_t columns();
    return ((67'(desc_q.cols) + 67'(BeatElems - 1)) >> BeatElemBits) << BeatElemBits;
  endfunction

  // Blocks of the inner dimension, MATMUL_T.
  function automatic logic [31:0] blocks();
    return (desc_q.inner + 32'(AtomElems - 1)) >> AtomElemBits;
  endfunction

  function automatic rows_t operand();
    rows_t r;
    r.exists = 1'b1;
    r.addr = desc_q.addr_a;
    r.rows = desc_q.rows;
    r.stride = desc_q.stride_a;
    r.row_bytes = columns() << 1;
    unique case (operand_q)
      OpA: begin
        r.exists = opcode != pim_isa_pkg::OpcodeCopyIn;
        if (is_copy) r.row_bytes = 67'(desc_q.inner);
        if (is_product) begin
          r.row_bytes = (((67'(desc_q.inner) << 1) + 67'(BeatBytes - 1)) >> BeatBits) << BeatBits;
        end
      end
      OpB: begin
        r.exists = has_right;
        r.addr = desc_q.addr_b;
        r.stride = desc_q.stride_b;
        if (opcode == pim_isa_pkg::OpcodeMatmul) begin
          r.rows = 32'd1;
          r.row_bytes = b_bytes_q;
        end else if (opcode == pim_isa_pkg::OpcodeMatmulT) begin
          r.rows = desc_q.cols;
          r.row_bytes = b_bytes_q + 67'(AtomBytes);
        end else if (broadcast != pim_isa_pkg::BroadcastNone) begin
          r.rows = 32'd1;
          if (broadcast == pim_isa_pkg::BroadcastColumn) begin
            r.row_bytes = (((67'(desc_q.rows) << 1) + 67'(BeatBytes - 1)) >> BeatBits) << BeatBits;
          end else if (broadcast == pim_isa_pkg::BroadcastScalar) begin
            r.row_bytes = 67'(BeatBytes);
          end
        end
      end
      OpC: begin
        r.exists = is_product && init != pim_isa_pkg::InitZero;
        r.addr = desc_q.host_lo;
        r.stride = desc_q.host_hi;
        if (init == pim_isa_pkg::InitRow) r.rows = 32'd1;
        else r.row_bytes = columns() << 2;
      end
      OpY: begin
        r.exists = opcode != pim_isa_pkg::OpcodeCopyOut;
        r.addr = desc_q.addr_y;
        r.stride = desc_q.stride_y;
        if (is_copy) r.row_bytes = 67'(desc_q.inner);
        else if (is_product && desc_q.control.out_f32) r.row_bytes = columns() << 2;
      end
      default: begin
        r.exists = is_copy;
        r.stride = opcode == pim_isa_pkg::OpcodeCopyIn ? desc_q.stride_a : desc_q.stride_y;
        r.row_bytes = 67'(desc_q.inner);
      end
    endcase
    return r;
  endfunction

  wide_t hull_start, window_end;
  assign hull_start = operand_q == OpHost ? 67'({desc_q.host_hi, desc_q.host_lo})
                                          : 67'(rows_q.addr);

  function automatic wide_t hull_end();
    return hull_start + 67'(product_q) + rows_q.row_bytes;
  endfunction

  // A window that reaches past the last address ends there: no transfer may wrap.
  always_comb begin
    window_end = 67'(window_base_i) + 67'(window_size_i);
    if (window_end > LastAddress) window_end = LastAddress;
  end

  function automatic logic outside(wide_t first, wide_t past, wide_t low, wide_t high);
    return first < low || past > high;
  endfunction

  // ---- host side and overlaps -----------------------------------------------------------
  function automatic logic host_bad();
    wide_t next_addr;
    next_addr = 67'({desc_q.next_hi, desc_q.next_lo});
    host_bad = 1'b0;
    if (opcode != pim_isa_pkg::OpcodeEnd) begin
      host_bad |= outside(next_addr, next_addr + 67'd64, 67'(window_base_i), window_end);
    end
    if (desc_q.control.record) host_bad |= 67'(desc_addr_i) + 67'd128 > window_end;
    if (is_copy) begin
      host_bad |= outside(67'({desc_q.host_hi, desc_q.host_lo}), host_end_q, 67'(window_base_i),
                          window_end);
    end
  endfunction

  function automatic logic meets(logic [1:0] which);
    return start_q[which] < end_q[3] && start_q[3] < end_q[which];
  endfunction

  function automatic logic overlap();
    logic in_place_a, in_place_b;
    overlap = 1'b0;
    if (is_copy) begin
      overlap = desc_q.rows != 32'd1 && desc_q.stride_y < desc_q.inner;
    end else if (is_product || is_vector) begin
      overlap = desc_q.rows != 32'd1 && 67'(desc_q.stride_y) <
          (is_product && desc_q.control.out_f32 ? columns() << 2 : columns() << 1);
      in_place_a = is_vector && desc_q.addr_a == desc_q.addr_y &&
          desc_q.stride_a == desc_q.stride_y;
      in_place_b = is_vector && broadcast == pim_isa_pkg::BroadcastNone &&
          desc_q.addr_b == desc_q.addr_y && desc_q.stride_b == desc_q.stride_y;
      overlap |= meets(2'd0) && !in_place_a;
      overlap |= has_right && meets(2'd1) && !in_place_b;
      if (is_product && init != pim_isa_pkg::InitZero) begin
        overlap |= meets(2'd2) && !(init == pim_isa_pkg::InitF32 && desc_q.control.out_f32 &&
                                 desc_q.host_lo == desc_q.addr_y &&
                                 desc_q.host_hi == desc_q.stride_y);
      end
    end
  endfunction

  assign done_o = state_q == StDone;
  assign code_o = code_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      operand_q <= OpA;
      code_q <= pim_isa_pkg::CodePending;
      desc_q <= '0;
      product_q <= '0;
      b_bytes_q <= '0;
      rows_q <= '0;
      host_end_q <= '0;
      for (int unsigned i = 0; i < 4; i++) begin
        start_q[i] <= '0;
        end_q[i] <= '0;
      end
    end else begin
      unique case (state_q)
        StIdle: if (start_i) begin
          desc_q <= desc_i;
          operand_q <= OpA;
          state_q <= StStatic;
        end
        StStatic: begin
          code_q <= static_code();
          if (static_code() != pim_isa_pkg::CodeDone) state_q <= StDone;
          else if (is_copy || is_product || is_vector) state_q <= StSize;
          else state_q <= StHost;
        end
        StSize: begin
          // Bytes of the right operand of a product, up to its last block.
          if (opcode == pim_isa_pkg::OpcodeMatmul) begin
            product_q <= 64'(desc_q.inner << 1) * 64'(desc_q.cols);
          end else begin
            product_q <= 64'(blocks() - 32'd1) * 64'(desc_q.tile);
          end
          state_q <= StRows;
        end
        StRows: begin
          if (operand_q == OpA) b_bytes_q <= 67'(product_q);
          rows_q <= operand();
          state_q <= StHull;
        end
        StHull: begin
          product_q <= 64'(rows_q.rows - 32'd1) * 64'(rows_q.stride);
          state_q <= StSum;
        end
        StSum: begin
          if (operand_q == OpHost) begin
            host_end_q <= hull_end();
            state_q <= StHost;
          end else begin
            start_q[operand_q[1:0]] <= hull_start;
            end_q[operand_q[1:0]] <= hull_end();
            operand_q <= operand_e'(3'(operand_q) + 3'd1);
            state_q <= StRows;
            if (rows_q.exists && hull_end() > 67'(Capacity)) begin
              code_q <= pim_isa_pkg::CodeRange;
              state_q <= StDone;
            end
          end
        end
        StHost: begin
          state_q <= StOverlap;
          if (host_bad()) begin
            code_q <= pim_isa_pkg::CodeHostRange;
            state_q <= StDone;
          end
        end
        StOverlap: begin
          if (overlap()) code_q <= pim_isa_pkg::CodeOverlap;
          state_q <= StDone;
        end
        default: state_q <= StIdle;
      endcase
    end
  end

endmodule

`default_nettype wire
