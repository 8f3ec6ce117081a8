`default_nettype none

/// Data times: what a column command did comes out again when its data are due.
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

  localparam int unsigned WriteSlotBits = WriteLatency > 1 ? $clog2(WriteLatency) : 1;

  pim_pkg::access_t read_ring_q [ReadLatency];
  pim_pkg::access_t write_ring_q [WriteLatency];
  logic [$clog2(ReadLatency)-1:0] read_slot_q;
  logic [WriteSlotBits-1:0] write_slot_q;
  logic [7:0] reads_q, writes_q;  // commands whose data are on their way

  assign read_o = read_ring_q[read_slot_q];
  assign write_o = write_ring_q[write_slot_q];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      for (int unsigned i = 0; i < ReadLatency; i++) read_ring_q[i] <= '0;
      for (int unsigned i = 0; i < WriteLatency; i++) write_ring_q[i] <= '0;
      read_slot_q <= '0;
      write_slot_q <= '0;
      reads_q <= '0;
      writes_q <= '0;
    end else begin
      read_ring_q[read_slot_q] <= access_i;
      read_ring_q[read_slot_q].valid <= access_i.valid && !write_i;
      write_ring_q[write_slot_q] <= access_i;
      write_ring_q[write_slot_q].valid <= access_i.valid && write_i;
      read_slot_q <= read_slot_q == ($clog2(ReadLatency))'(ReadLatency - 1) ? '0
                                                                            : read_slot_q + 1'b1;
      write_slot_q <= write_slot_q == WriteSlotBits'(WriteLatency - 1)
                      ? '0 : write_slot_q + 1'b1;
      reads_q <= reads_q + 8'(access_i.valid && !write_i) - 8'(read_o.valid);
      writes_q <= writes_q + 8'(access_i.valid && write_i) - 8'(write_o.valid);
    end
  end

  assign no_reads_o = reads_q == '0;
  assign no_data_o = reads_q == '0 && writes_q == '0;

endmodule

`default_nettype wire
