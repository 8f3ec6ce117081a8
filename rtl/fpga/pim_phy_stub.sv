`default_nettype none

/// Where a PHY goes: the memory port of pim_top as DFI-like pins, a phase for each DRAM clock.
///
/// **This is no PHY.** It has no delay lines, no DQS, no serialisers, no training, no initialisation
/// of the DRAM and no mode registers, and has never driven a memory. It shows what a PHY has to be given: which command
/// is which pin level (DDR4, JESD79-4 table 17), in which phase, and when data are wanted. Replace it by
/// a vendor's PHY behind the same `dfi_*` signals.
///
/// Commands leave `Delay` clocks late, all of them, so that no rule between them is touched. The device
/// hands over write data at the end of their burst, and a PHY wants them before it: choose `Delay` at
/// least `TBl` / `CkRatio`, rounded up, plus the clocks that the PHY itself needs for write data. Read
/// data then come `Delay` clocks later, and those of the PHY's read path: give pim_top a `TCl` that is
/// longer by all of them, in DRAM clocks. The device cannot wait for data: `missed_o` says that they were not
/// there when it took them, or came when it did not.
///
/// Self-refresh: CKE is low while the device is asleep, and falls with the entry command. After a reset the
/// device takes the memory to be in self-refresh; whoever initialises it has to leave it there. A reset of a
/// device that is working leaves rows open and sends nothing: a PHY closes them (PRE of all banks, with
/// tRAS, tRTP and tWR kept) and enters self-refresh before CKE falls. This stub lets CKE fall at once.
module pim_phy_stub #(
  /// Parameters of pim_top by the same names.
  parameter int unsigned AllBank = 0,
  parameter int unsigned Banks = 16,
  parameter int unsigned BankGroups = 4,
  parameter int unsigned RowBytes = 8192,
  parameter int unsigned Rows = 4096,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned CkRatio = 4,
  /// Column addresses of a burst, as a power of two: 3 for bursts of eight.
  parameter int unsigned BurstBits = 3,
  /// Clocks from a command at the port to its pins, at least 1.
  parameter int unsigned Delay = 2
) (
  input  wire logic              clk_i,
  /// The device's `bus_rst_no`.
  input  wire logic              rst_ni,

  /// Memory port of pim_top, without the prefix `mem_`.
  input  wire pim_pkg::dram_cmd_e row_cmd_i,
  input  wire logic              row_all_i,
  input  wire logic [$clog2(Banks)-1:0] row_bank_i,
  input  wire logic [$clog2(Rows)-1:0] row_row_i,
  input  wire logic [$clog2(CkRatio)-1:0] row_slot_i,
  input  wire pim_pkg::dram_cmd_e col_cmd_i,
  input  wire logic              col_all_i,
  input  wire logic [$clog2(Banks)-1:0] col_bank_i,
  input  wire logic [$clog2(RowBytes/AtomBytes)-1:0] col_column_i,
  input  wire logic [$clog2(CkRatio)-1:0] col_slot_i,
  input  wire logic              asleep_i,
  input  wire logic              read_i,
  output logic      [(AllBank*(Banks-1)+1)*AtomBytes*8-1:0] read_data_o,
  input  wire logic              write_i,
  input  wire logic [(AllBank*(Banks-1)+1)*AtomBytes*8-1:0] write_data_i,

  /// Command pins, phase 0 first in time. `dfi_all_o`: for every bank, in all_bank style.
  output logic      [CkRatio-1:0] dfi_cke_o,
  output logic      [CkRatio-1:0] dfi_cs_n_o,
  output logic      [CkRatio-1:0] dfi_act_n_o,
  output logic      [CkRatio-1:0] dfi_ras_n_o,
  output logic      [CkRatio-1:0] dfi_cas_n_o,
  output logic      [CkRatio-1:0] dfi_we_n_o,
  output logic      [CkRatio-1:0] dfi_all_o,
  output logic      [CkRatio-1:0][$clog2(BankGroups)-1:0] dfi_bg_o,
  output logic      [CkRatio-1:0][$clog2(Banks/BankGroups)-1:0] dfi_bank_o,
  output logic      [CkRatio-1:0][13:0] dfi_address_o,
  /// A RD goes out: data are wanted for it.
  output logic                   dfi_rddata_en_o,
  input  wire logic              dfi_rddata_valid_i,
  input  wire logic [(AllBank*(Banks-1)+1)*AtomBytes*8-1:0] dfi_rddata_i,
  /// Data of a WR.
  output logic                   dfi_wrdata_en_o,
  output logic      [(AllBank*(Banks-1)+1)*AtomBytes*8-1:0] dfi_wrdata_o,
  /// Stays up until reset: read data were not there when the device took them, or at another time.
  output logic                   missed_o
);

  localparam int unsigned GroupBits = $clog2(BankGroups);
  localparam int unsigned BankBits = $clog2(Banks);
  localparam int unsigned RowBits = $clog2(Rows);
  localparam int unsigned ColumnBits = $clog2(RowBytes / AtomBytes);
  localparam int unsigned SlotBits = $clog2(CkRatio);

  if (AllBank > 1) begin : gen_check_style
    $error("%m: AllBank must be 0 or 1, is %0d", AllBank);
  end
  if (Delay < 1) begin : gen_check_delay
    $error("%m: Delay must be at least 1");
  end
  if (BankGroups < 2 || Banks < 2 * BankGroups) begin : gen_check_groups
    $error("%m: BankGroups must be at least 2, with two banks each");
  end
  if (RowBits > 17 || ColumnBits + BurstBits > 12) begin : gen_check_address
    $error("%m: more rows or columns than DDR4 has address pins for");
  end

  // The levels of one phase.
  typedef struct packed {
    logic cs_n;
    logic act_n;
    logic ras_n;
    logic cas_n;
    logic we_n;
    logic all;
    logic [BankBits-1:0] bank;
    logic [13:0] address;
  } pins_t;

  localparam pins_t Deselect = '{
      cs_n: 1'b1, act_n: 1'b1, ras_n: 1'b1, cas_n: 1'b1, we_n: 1'b1, default: '0};

  typedef struct packed {
    pim_pkg::dram_cmd_e cmd;
    logic all;
    logic [BankBits-1:0] bank;
    logic [RowBits-1:0] row;
    logic [SlotBits-1:0] slot;
  } row_command_t;

  typedef struct packed {
    pim_pkg::dram_cmd_e cmd;
    logic all;
    logic [BankBits-1:0] bank;
    logic [ColumnBits-1:0] column;
    logic [SlotBits-1:0] slot;
  } col_command_t;

  // ---- the delay: all stages but the last, which is that of the pins ------------------------
  row_command_t row;
  col_command_t col;
  logic asleep;

  if (Delay == 1) begin : gen_at_once
    assign row = '{row_cmd_i, row_all_i, row_bank_i, row_row_i, row_slot_i};
    assign col = '{col_cmd_i, col_all_i, col_bank_i, col_column_i, col_slot_i};
    assign asleep = asleep_i;
  end else begin : gen_delay
    row_command_t [Delay-2:0] row_q;
    col_command_t [Delay-2:0] col_q;
    logic [Delay-2:0] asleep_q;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        row_q <= '0;
        col_q <= '0;
        asleep_q <= '1;
      end else begin
        for (int unsigned i = 1; i < Delay - 1; i++) begin
          row_q[i] <= row_q[i-1];
          col_q[i] <= col_q[i-1];
          asleep_q[i] <= asleep_q[i-1];
        end
        row_q[0] <= '{row_cmd_i, row_all_i, row_bank_i, row_row_i, row_slot_i};
        col_q[0] <= '{col_cmd_i, col_all_i, col_bank_i, col_column_i, col_slot_i};
        asleep_q[0] <= asleep_i;
      end
    end

    assign row = row_q[Delay-2];
    assign col = col_q[Delay-2];
    assign asleep = asleep_q[Delay-2];
  end

  // ---- pin levels -----------------------------------------------------------------------
  // A10 says "every bank" to PRE and must be 0 for RD and WR, which precharge nothing by themselves.
  localparam int unsigned AllPin = 10;

  function automatic pins_t row_pins(row_command_t command);
    logic [16:0] address;
    address = 17'(command.row);
    row_pins = Deselect;
    row_pins.bank = command.bank;
    unique case (command.cmd)
      pim_pkg::CmdAct: begin
        row_pins.cs_n = 1'b0;
        row_pins.act_n = 1'b0;
        row_pins.all = command.all;
        // With ACT the command pins carry A16 to A14.
        {row_pins.ras_n, row_pins.cas_n, row_pins.we_n, row_pins.address} = address;
      end
      pim_pkg::CmdPre: begin
        row_pins.cs_n = 1'b0;
        row_pins.ras_n = 1'b0;
        row_pins.we_n = 1'b0;
        row_pins.address[AllPin] = command.all;
      end
      pim_pkg::CmdRef: begin
        row_pins.cs_n = 1'b0;
        row_pins.ras_n = 1'b0;
        row_pins.cas_n = 1'b0;
      end
      default: ;
    endcase
  endfunction

  function automatic pins_t col_pins(col_command_t command);
    logic [11:0] first;
    first = 12'(command.column) << BurstBits;
    col_pins = Deselect;
    col_pins.cs_n = 1'b0;
    col_pins.cas_n = 1'b0;
    col_pins.we_n = command.cmd != pim_pkg::CmdWr;
    col_pins.all = command.all;
    col_pins.bank = command.bank;
    col_pins.address[9:0] = first[9:0];
    col_pins.address[11] = first[10];
    col_pins.address[13] = first[11];
  endfunction

  pins_t [CkRatio-1:0] pins_d, pins_q;
  logic asleep_q;

  always_comb begin
    pins_d = {CkRatio{Deselect}};
    if (row.cmd != pim_pkg::CmdNop) pins_d[row.slot] = row_pins(row);
    if (col.cmd != pim_pkg::CmdNop) pins_d[col.slot] = col_pins(col);
    // Entry into self-refresh: REF with CKE low.
    if (asleep && !asleep_q) begin
      pins_d[0] = row_pins('{cmd: pim_pkg::CmdRef, default: '0});
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      pins_q <= {CkRatio{Deselect}};
      asleep_q <= 1'b1;
      dfi_rddata_en_o <= 1'b0;
    end else begin
      pins_q <= pins_d;
      asleep_q <= asleep;
      dfi_rddata_en_o <= col.cmd == pim_pkg::CmdRd;
    end
  end

  for (genvar p = 0; p < CkRatio; p++) begin : gen_phase
    assign dfi_cke_o[p] = !asleep_q;
    assign dfi_cs_n_o[p] = pins_q[p].cs_n;
    assign dfi_act_n_o[p] = pins_q[p].act_n;
    assign dfi_ras_n_o[p] = pins_q[p].ras_n;
    assign dfi_cas_n_o[p] = pins_q[p].cas_n;
    assign dfi_we_n_o[p] = pins_q[p].we_n;
    assign dfi_all_o[p] = pins_q[p].all;
    // The group is the lower part of the device's number of a bank.
    assign dfi_bg_o[p] = pins_q[p].bank[GroupBits-1:0];
    assign dfi_bank_o[p] = pins_q[p].bank[BankBits-1:GroupBits];
    assign dfi_address_o[p] = pins_q[p].address;
  end

  // ---- data -----------------------------------------------------------------------------
  logic wanted_q;

  assign read_data_o = dfi_rddata_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wanted_q <= 1'b0;
      missed_o <= 1'b0;
      dfi_wrdata_en_o <= 1'b0;
    end else begin
      wanted_q <= read_i;
      if (wanted_q != dfi_rddata_valid_i) missed_o <= 1'b1;
      dfi_wrdata_en_o <= write_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (write_i) dfi_wrdata_o <= write_data_i;
  end

endmodule

`default_nettype wire
