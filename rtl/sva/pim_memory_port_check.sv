`default_nettype none

/// The memory port of pim_top keeps its rules, those between commands but for their times, which
/// pim_timing_check watches. Bound to pim_top (`pim_top_sva.sv`).
///
/// Commands are of their kind, in a slot of their own, and none goes out in self-refresh; a column command
/// finds its row, a row is opened in a closed bank, a refresh finds all banks closed. Data of a RD
/// are taken, and those of a WR are there, a fixed number of clocks after it, at its address, and never
/// otherwise.
module pim_memory_port_check #(
  parameter int unsigned AllBank = 0,
  parameter int unsigned Banks = 16,
  parameter int unsigned RowBytes = 8192,
  parameter int unsigned Rows = 4096,
  parameter int unsigned AtomBytes = 64,
  parameter int unsigned CkRatio = 4,
  parameter int unsigned TCl = 17,
  parameter int unsigned TCwl = 12,
  parameter int unsigned TBl = 4
) (
  input wire logic              clk_i,
  input wire logic              rst_ni,
  input wire pim_pkg::dram_cmd_e row_cmd_i,
  input wire logic              row_all_i,
  input wire logic [$clog2(Banks)-1:0] row_bank_i,
  input wire logic [$clog2(Rows)-1:0] row_row_i,
  input wire logic [$clog2(CkRatio)-1:0] row_slot_i,
  input wire pim_pkg::dram_cmd_e col_cmd_i,
  input wire logic              col_all_i,
  input wire logic [$clog2(Banks)-1:0] col_bank_i,
  input wire logic [$clog2(Rows)-1:0] col_row_i,
  input wire logic [$clog2(RowBytes/AtomBytes)-1:0] col_column_i,
  input wire logic [$clog2(CkRatio)-1:0] col_slot_i,
  input wire logic              asleep_i,
  input wire pim_pkg::access_t  read_i,
  input wire pim_pkg::access_t  write_i
);

  localparam int unsigned ReadClocks = (TCl + TBl + CkRatio - 1) / CkRatio;
  localparam int unsigned WriteClocks = (TCwl + TBl + CkRatio - 1) / CkRatio;
  localparam int unsigned Columns = RowBytes / AtomBytes;

  typedef struct packed {
    logic valid;
    logic all;
    logic [31:0] addr;
  } due_t;

  logic [Banks-1:0] open_q;
  logic [$clog2(Rows)-1:0] rows_q [Banks];
  due_t [ReadClocks-1:0] reads_q;   // by clocks until their data
  due_t [WriteClocks-1:0] writes_q;
  logic asleep_q;
  // There was a reset: before it nothing means anything.
  logic started_q;
  initial started_q = 1'b0;

  logic row_goes, col_goes, here, closes_before;
  logic [31:0] address;

  assign row_goes = row_cmd_i != pim_pkg::CmdNop;
  assign col_goes = col_cmd_i != pim_pkg::CmdNop;
  // The two commands of this clock meet in one bank.
  assign here = row_all_i || col_all_i || row_bank_i == col_bank_i;
  assign closes_before = row_cmd_i == pim_pkg::CmdPre && here && row_slot_i < col_slot_i;
  assign address = 32'(AtomBytes) *
      (AllBank != 0 ? (32'(col_row_i) * Columns + 32'(col_column_i)) * Banks + 32'(col_bank_i)
                    : (32'(col_bank_i) * Rows + 32'(col_row_i)) * Columns + 32'(col_column_i));

  // The kind of an access is no matter of the memory.
  logic unused;
  assign unused = ^{read_i, write_i};

  function automatic logic opened(logic all, int unsigned bank, logic [$clog2(Banks)-1:0] named);
    return all || bank == 32'(named);
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      started_q <= 1'b1;
      open_q <= '0;
      reads_q <= '0;
      writes_q <= '0;
      asleep_q <= 1'b1;
    end else begin
      asleep_q <= asleep_i;
      reads_q <= {due_t'({col_cmd_i == pim_pkg::CmdRd, col_all_i, address}),
                  reads_q[ReadClocks-1:1]};
      writes_q <= {due_t'({col_cmd_i == pim_pkg::CmdWr, col_all_i, address}),
                   writes_q[WriteClocks-1:1]};
      for (int unsigned b = 0; b < Banks; b++) begin
        if (row_goes && opened(row_all_i, b, row_bank_i)) begin
          if (row_cmd_i == pim_pkg::CmdAct) begin
            open_q[b] <= 1'b1;
            rows_q[b] <= row_row_i;
          end else begin
            open_q[b] <= 1'b0;
          end
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_ni && started_q) begin
      assert (row_cmd_i inside {pim_pkg::CmdNop, pim_pkg::CmdAct, pim_pkg::CmdPre, pim_pkg::CmdRef})
      else $fatal(1, "memory port: no row command: %m");
      assert (col_cmd_i inside {pim_pkg::CmdNop, pim_pkg::CmdRd, pim_pkg::CmdWr})
      else $fatal(1, "memory port: no column command: %m");
      assert (!(asleep_i && (row_goes || col_goes)))
      else $fatal(1, "memory port: a command in self-refresh: %m");
      assert (!(asleep_i && !asleep_q && open_q != '0))
      else $fatal(1, "memory port: self-refresh with an open bank: %m");
      if (row_goes) begin
        assert (32'(row_slot_i) < CkRatio)
        else $fatal(1, "memory port: no such slot: %m");
        assert (!(col_goes && row_slot_i == col_slot_i))
        else $fatal(1, "memory port: two commands in a slot: %m");
        assert (!(row_cmd_i == pim_pkg::CmdAct && row_all_i && AllBank == 0))
        else $fatal(1, "memory port: ACT of all banks in per_bank style: %m");
        assert (row_cmd_i != pim_pkg::CmdAct || !(row_all_i ? open_q != '0 : open_q[row_bank_i]))
        else $fatal(1, "memory port: ACT in an open bank: %m");
        assert (row_cmd_i != pim_pkg::CmdRef || (open_q == '0 && row_all_i))
        else $fatal(1, "memory port: REF with an open bank: %m");
      end
      if (col_goes) begin
        assert (32'(col_slot_i) < CkRatio)
        else $fatal(1, "memory port: no such slot: %m");
        assert (!(col_all_i && AllBank == 0))
        else $fatal(1, "memory port: access to all banks in per_bank style: %m");
        assert ((col_all_i ? open_q == '1 : open_q[col_bank_i]) && !closes_before)
        else $fatal(1, "memory port: access to a closed bank: %m");
        for (int unsigned b = 0; b < Banks; b++) begin
          assert (!opened(col_all_i, b, col_bank_i) || rows_q[b] == col_row_i)
          else $fatal(1, "memory port: access to another row than the open one: %m");
        end
      end
      assert (read_i.valid == reads_q[0].valid)
      else $fatal(1, "memory port: data of a RD at another time, or of none: %m");
      assert (!read_i.valid || (read_i.addr == reads_q[0].addr && read_i.all == reads_q[0].all))
      else $fatal(1, "memory port: data of another RD: %m");
      assert (write_i.valid == writes_q[0].valid)
      else $fatal(1, "memory port: data of a WR at another time, or of none: %m");
      assert (!write_i.valid || (write_i.addr == writes_q[0].addr && write_i.all == writes_q[0].all))
      else $fatal(1, "memory port: data of another WR: %m");
    end
  end

endmodule

`default_nettype wire
