// Generated from isa.toml by `python -m pimloop.rtl.tools.generate`: do not edit.

/// The programming interface of the device: registers, descriptors, codes.
package pim_isa_pkg;

  localparam logic [31:0] DeviceId = 32'h50494D31;
  localparam logic [31:0] DeviceVersion = 32'h00010006;

  // Register offsets in bytes.
  localparam logic [11:0] RegId = 12'h000;
  localparam logic [11:0] RegVersion = 12'h004;
  localparam logic [11:0] RegCtrl = 12'h008;
  localparam logic [11:0] RegStatus = 12'h00C;
  localparam logic [11:0] RegIrq = 12'h010;
  localparam logic [11:0] RegDoorbell = 12'h014;
  localparam logic [11:0] RegListLo = 12'h018;
  localparam logic [11:0] RegListHi = 12'h01C;
  localparam logic [11:0] RegHostBaseLo = 12'h020;
  localparam logic [11:0] RegHostBaseHi = 12'h024;
  localparam logic [11:0] RegHostSizeLo = 12'h028;
  localparam logic [11:0] RegHostSizeHi = 12'h02C;
  localparam logic [11:0] RegChainLimit = 12'h030;
  localparam logic [11:0] RegDescLo = 12'h034;
  localparam logic [11:0] RegDescHi = 12'h038;
  localparam logic [11:0] RegDescCount = 12'h03C;
  localparam logic [11:0] RegDoorbellDropped = 12'h040;
  localparam logic [11:0] RegCapacityLo = 12'h080;
  localparam logic [11:0] RegCapacityHi = 12'h084;
  localparam logic [11:0] RegStyle = 12'h088;
  localparam logic [11:0] RegBanks = 12'h08C;
  localparam logic [11:0] RegRowBytes = 12'h090;
  localparam logic [11:0] RegAtomBytes = 12'h094;
  localparam logic [11:0] RegBeatBytes = 12'h098;
  localparam logic [11:0] RegLanes = 12'h09C;
  localparam logic [11:0] RegAccGroups = 12'h0A0;
  localparam logic [11:0] RegScalarDepth = 12'h0A4;
  localparam logic [11:0] RegCkRatio = 12'h0A8;
  localparam logic [11:0] RegTckFs = 12'h0AC;
  localparam logic [11:0] RegLaneLatency = 12'h0B0;
  localparam logic [11:0] RegRowsPerBeat = 12'h0B4;
  localparam logic [11:0] RegTransposeWays = 12'h0B8;
  localparam logic [11:0] RegCntCyclesLo = 12'h100;
  localparam logic [11:0] RegCntCyclesHi = 12'h104;
  localparam logic [11:0] RegCntActLo = 12'h108;
  localparam logic [11:0] RegCntActHi = 12'h10C;
  localparam logic [11:0] RegCntPreLo = 12'h110;
  localparam logic [11:0] RegCntPreHi = 12'h114;
  localparam logic [11:0] RegCntRdLo = 12'h118;
  localparam logic [11:0] RegCntRdHi = 12'h11C;
  localparam logic [11:0] RegCntWrLo = 12'h120;
  localparam logic [11:0] RegCntWrHi = 12'h124;
  localparam logic [11:0] RegCntRefLo = 12'h128;
  localparam logic [11:0] RegCntRefHi = 12'h12C;
  localparam logic [11:0] RegCntMacLo = 12'h130;
  localparam logic [11:0] RegCntMacHi = 12'h134;
  localparam logic [11:0] RegCntStallLo = 12'h138;
  localparam logic [11:0] RegCntStallHi = 12'h13C;
  localparam logic [11:0] RegCntOpenLo = 12'h140;
  localparam logic [11:0] RegCntOpenHi = 12'h144;
  localparam logic [11:0] RegCntSelfRefreshLo = 12'h148;
  localparam logic [11:0] RegCntSelfRefreshHi = 12'h14C;
  localparam logic [11:0] RegCntAllRdLo = 12'h150;
  localparam logic [11:0] RegCntAllRdHi = 12'h154;
  localparam logic [11:0] RegCntAllWrLo = 12'h158;
  localparam logic [11:0] RegCntAllWrHi = 12'h15C;
  localparam logic [11:0] RegCntLinkLo = 12'h160;
  localparam logic [11:0] RegCntLinkHi = 12'h164;

  // Values after reset that are not 0.
  localparam logic [31:0] ResetChainLimit = 32'h00100000;

  // Bits of the registers that are written.
  localparam int unsigned BitCtrlSoftReset = 0;
  localparam int unsigned BitCtrlIrqEnable = 1;
  localparam int unsigned BitIrqEnded = 0;

  // Counters, in the order of their registers.
  localparam int unsigned Counters = 13;
  localparam int unsigned CounterCycles = 0;
  localparam int unsigned CounterAct = 1;
  localparam int unsigned CounterPre = 2;
  localparam int unsigned CounterRd = 3;
  localparam int unsigned CounterWr = 4;
  localparam int unsigned CounterRef = 5;
  localparam int unsigned CounterMac = 6;
  localparam int unsigned CounterStall = 7;
  localparam int unsigned CounterOpen = 8;
  localparam int unsigned CounterSelfRefresh = 9;
  localparam int unsigned CounterAllRd = 10;
  localparam int unsigned CounterAllWr = 11;
  localparam int unsigned CounterLink = 12;

  // Words of a descriptor.
  localparam int unsigned WordControl = 0;
  localparam int unsigned WordNextLo = 1;
  localparam int unsigned WordNextHi = 2;
  localparam int unsigned WordHostLo = 3;
  localparam int unsigned WordHostHi = 4;
  localparam int unsigned WordAddrA = 5;
  localparam int unsigned WordAddrB = 6;
  localparam int unsigned WordAddrY = 7;
  localparam int unsigned WordRows = 8;
  localparam int unsigned WordInner = 9;
  localparam int unsigned WordCols = 10;
  localparam int unsigned WordStrideA = 11;
  localparam int unsigned WordStrideB = 12;
  localparam int unsigned WordStrideY = 13;
  localparam int unsigned WordTile = 14;
  localparam int unsigned WordStatus = 15;

  // Highest opcode; the codes of errors, from the first to the last.
  localparam int unsigned OpcodeLast = 10;
  localparam int unsigned ErrorFirst = 129;
  localparam int unsigned ErrorLast = 139;
  localparam int unsigned BroadcastValues = 4;
  localparam int unsigned InitValues = 3;

  typedef enum logic [7:0] {
    OpcodeCopyIn = 8'h01,
    OpcodeCopyOut = 8'h02,
    OpcodeMatmul = 8'h03,
    OpcodeMatmulT = 8'h04,
    OpcodeAdd = 8'h05,
    OpcodeSub = 8'h06,
    OpcodeMul = 8'h07,
    OpcodeFence = 8'h08,
    OpcodeEnd = 8'h09,
    OpcodeRelu = 8'h0A
  } opcode_e;

  typedef enum logic [1:0] {
    BroadcastNone = 2'h0,
    BroadcastRow = 2'h1,
    BroadcastColumn = 2'h2,
    BroadcastScalar = 2'h3
  } broadcast_e;

  typedef enum logic [1:0] {
    InitZero = 2'h0,
    InitRow = 2'h1,
    InitF32 = 2'h2
  } init_e;

  typedef enum logic [1:0] {
    WeightsBf16 = 2'h0,
    WeightsW8 = 2'h1,
    WeightsW4 = 2'h2
  } weights_e;

  typedef enum logic [7:0] {
    CodePending = 8'h00,
    CodeDone = 8'h01,
    CodeOpcode = 8'h81,
    CodeReserved = 8'h82,
    CodeSize = 8'h83,
    CodeMisaligned = 8'h84,
    CodeRange = 8'h85,
    CodeHostRange = 8'h86,
    CodeOverlap = 8'h87,
    CodeLoop = 8'h88,
    CodeChain = 8'h89,
    CodeAxiRead = 8'h8A,
    CodeAxiWrite = 8'h8B
  } code_e;

  /// Register VERSION.
  typedef struct packed {
    logic [15:0] major;
    logic [15:0] minor;
  } version_t;

  /// Register CTRL.
  typedef struct packed {
    logic [29:0] reserved;
    logic irq_enable;
    logic soft_reset;
  } ctrl_t;

  /// Register STATUS.
  typedef struct packed {
    logic [15:0] reserved0;
    code_e code;
    logic [5:0] reserved1;
    logic failed;
    logic running;
  } status_t;

  /// Register IRQ.
  typedef struct packed {
    logic [30:0] reserved;
    logic ended;
  } irq_t;

  /// Register STYLE.
  typedef struct packed {
    logic [22:0] reserved;
    logic native_lanes;
    logic [7:0] all_bank;
  } style_t;

  /// Register BANKS.
  typedef struct packed {
    logic [15:0] groups;
    logic [15:0] count;
  } banks_t;

  /// Word 0 of a descriptor.
  typedef struct packed {
    logic [11:0] reserved;
    logic [3:0] group;
    logic [1:0] weights;
    logic record;
    logic out_f32;
    logic [1:0] init;
    logic [1:0] broadcast;
    logic [7:0] opcode;
  } control_t;

  /// The word `status` of a descriptor.
  typedef struct packed {
    logic [23:0] position;
    code_e code;
  } word_status_t;

  /// A descriptor; word 0 in the low bits.
  typedef struct packed {
    logic [31:0] status;
    logic [31:0] tile;
    logic [31:0] stride_y;
    logic [31:0] stride_b;
    logic [31:0] stride_a;
    logic [31:0] cols;
    logic [31:0] inner;
    logic [31:0] rows;
    logic [31:0] addr_y;
    logic [31:0] addr_b;
    logic [31:0] addr_a;
    logic [31:0] host_hi;
    logic [31:0] host_lo;
    logic [31:0] next_hi;
    logic [31:0] next_lo;
    control_t control;
  } descriptor_t;

  /// A completion record; word 0 in the low bits.
  typedef struct packed {
    logic [31:0] unused;
    logic [31:0] link;
    logic [31:0] all_wr;
    logic [31:0] all_rd;
    logic [31:0] self_refresh;
    logic [31:0] open;
    logic [31:0] stall;
    logic [31:0] mac;
    logic [31:0] ref_count;
    logic [31:0] wr;
    logic [31:0] rd;
    logic [31:0] pre;
    logic [31:0] act;
    logic [31:0] cycles_hi;
    logic [31:0] cycles_lo;
    logic [31:0] status;
  } record_t;

  /// Moves rows between host memory and device memory.
  function automatic logic is_copy(opcode_e opcode);
    return opcode inside {OpcodeCopyIn, OpcodeCopyOut};
  endfunction

  /// Sums of products; has an initial value, and results of two widths.
  function automatic logic is_product(opcode_e opcode);
    return opcode inside {OpcodeMatmul, OpcodeMatmulT};
  endfunction

  /// One result for each element of the left operand; the right one may be broadcast.
  function automatic logic is_elementwise(opcode_e opcode);
    return opcode inside {OpcodeAdd, OpcodeSub, OpcodeMul};
  endfunction

  /// One result for each element of the left operand; there is no right one.
  function automatic logic is_unary(opcode_e opcode);
    return opcode inside {OpcodeRelu};
  endfunction

  /// Has no operands: about the list itself.
  function automatic logic is_list(opcode_e opcode);
    return opcode inside {OpcodeFence, OpcodeEnd};
  endfunction

  /// Whether pim_seq and the lanes execute it.
  function automatic logic is_compute(opcode_e opcode);
    return opcode inside {OpcodeMatmul, OpcodeMatmulT, OpcodeAdd, OpcodeSub, OpcodeMul, OpcodeRelu};
  endfunction

  /// Whether it goes through the rows of its operands beat by beat.
  function automatic logic is_vector(opcode_e opcode);
    return opcode inside {OpcodeAdd, OpcodeSub, OpcodeMul, OpcodeRelu};
  endfunction

  /// Whether there is such an opcode.
  function automatic logic is_known(opcode_e opcode);
    return opcode inside {OpcodeCopyIn, OpcodeCopyOut, OpcodeMatmul, OpcodeMatmulT, OpcodeAdd,
        OpcodeSub, OpcodeMul, OpcodeFence, OpcodeEnd, OpcodeRelu};
  endfunction

  /// Whether a bit of the control word is set that its opcode does not know, or a value
  /// that no option has.
  function automatic logic has_undefined_option(control_t control);
    opcode_e opcode;
    opcode = opcode_e'(control.opcode);
    has_undefined_option = control.reserved != '0;
    has_undefined_option |= control.broadcast != '0 && !is_elementwise(opcode);
    has_undefined_option |= control.init != '0 && !is_product(opcode);
    has_undefined_option |= control.out_f32 != '0 && !is_product(opcode);
    has_undefined_option |= control.weights != '0 && !is_product(opcode);
    has_undefined_option |= control.group != '0 && !is_product(opcode);
    has_undefined_option |= !(init_e'(control.init) inside {InitZero, InitRow, InitF32});
    has_undefined_option |= !(weights_e'(control.weights) inside {WeightsBf16, WeightsW8, WeightsW4});
  endfunction

  /// The record of a descriptor: counters in the order of Counter..., cycles in full.
  function automatic record_t record_of(word_status_t status, logic [63:0] cycles,
                                        logic [Counters-1:0][31:0] counts);
    record_of = '0;
    record_of.status = status;
    record_of.cycles_lo = cycles[31:0];
    record_of.cycles_hi = cycles[63:32];
    record_of.act = counts[CounterAct];
    record_of.pre = counts[CounterPre];
    record_of.rd = counts[CounterRd];
    record_of.wr = counts[CounterWr];
    record_of.ref_count = counts[CounterRef];
    record_of.mac = counts[CounterMac];
    record_of.stall = counts[CounterStall];
    record_of.open = counts[CounterOpen];
    record_of.self_refresh = counts[CounterSelfRefresh];
    record_of.all_rd = counts[CounterAllRd];
    record_of.all_wr = counts[CounterAllWr];
    record_of.link = counts[CounterLink];
  endfunction

endpackage
