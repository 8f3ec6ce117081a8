`default_nettype none

/// Data times: what a column command did comes out again when its data are due, from registers.
module pim_sched_data #(
  /// Fabric clocks from a read to its data, and from a write to two clocks before its data.
  parameter int unsigned ReadLatency = 6,
  parameter int unsigned WriteLatency = 2
) (
  input  wire logic              clk_i,
  input  wire logic              rst_ni,
  /// The column command of this clock, if `valid`, and whether it writes.
  input  wire pim_pkg::access_t  access_i,
  input  wire logic              write_i,
  output      pim_pkg::access_t  read_o,
  output      pim_pkg::access_t  write_o,
  /// No data of reads, of any command, are on their way.
  output logic                   no_reads_o,
  output logic                   no_data_o
);

  // The last clock of a latency is that of the output register.
  localparam int unsigned ReadSlots = ReadLatency > 1 ? ReadLatency - 1 : 1;
  localparam int unsigned WriteSlots = WriteLatency > 1 ? WriteLatency - 1 : 1;
  localparam int unsigned ReadSlotBits = ReadSlots > 1 ? $clog2(ReadSlots) : 1;
  localparam int unsigned WriteSlotBits = WriteSlots > 1 ? $clog2(WriteSlots) : 1;

  pim_pkg::access_t read, write;
  pim_pkg::access_t read_ring_q [ReadSlots];
  pim_pkg::access_t write_ring_q [WriteSlots];
  logic [ReadSlotBits-1:0] read_slot_q;
  logic [WriteSlotBits-1:0] write_slot_q;
  logic [7:0] reads_q, writes_q;  // commands whose data are on their way
  logic no_writes_q;

  always_comb begin
    read = access_i;
    read.valid = access_i.valid && !write_i;
    write = access_i;
    write.valid = access_i.valid && write_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      for (int unsigned i = 0; i < ReadSlots; i++) read_ring_q[i] <= '0;
      for (int unsigned i = 0; i < WriteSlots; i++) write_ring_q[i] <= '0;
      read_o <= '0;
      write_o <= '0;
      read_slot_q <= '0;
      write_slot_q <= '0;
      reads_q <= '0;
      writes_q <= '0;
      no_reads_o <= 1'b1;
      no_writes_q <= 1'b1;
    end else begin
      read_ring_q[read_slot_q] <= read;
      write_ring_q[write_slot_q] <= write;
      read_o <= ReadLatency > 1 ? read_ring_q[read_slot_q] : read;
      write_o <= WriteLatency > 1 ? write_ring_q[write_slot_q] : write;
      read_slot_q <= read_slot_q == ReadSlotBits'(ReadSlots - 1) ? '0 : read_slot_q + 1'b1;
      write_slot_q <= write_slot_q == WriteSlotBits'(WriteSlots - 1) ? '0 : write_slot_q + 1'b1;
      reads_q <= reads_q + 8'(read.valid) - 8'(read_o.valid);
      writes_q <= writes_q + 8'(write.valid) - 8'(write_o.valid);
      no_reads_o <= !read.valid && reads_q == 8'(read_o.valid);
      no_writes_q <= !write.valid && writes_q == 8'(write_o.valid);
    end
  end

  assign no_data_o = no_reads_o && no_writes_q;

endmodule

`default_nettype wire
