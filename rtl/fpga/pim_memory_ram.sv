`default_nettype none

/// Memory behind the memory port of pim_top: the bytes of the DRAM in block memory.
///
/// What is read is there one clock after `read_i`, what is written is taken with `write_i`: the latencies
/// of the port, whatever the DRAM timings of the device are. Commands are not looked at: the device
/// still keeps every DRAM rule, so the same lists take the same clocks as in simulation. In per_bank style
/// there is one memory with words of an atom, in all_bank style one for each bank, so that a beat
/// is a word of each.
///
/// The size is that of the DRAM, `Banks` x `RowBytes` x `Rows` bytes: choose `Rows` so that it fits.
module pim_memory_ram #(
  /// Parameters of pim_top by the same names.
  parameter int unsigned AllBank = 0,
  parameter int unsigned Banks = 16,
  parameter int unsigned RowBytes = 8192,
  parameter int unsigned Rows = 16,
  parameter int unsigned AtomBytes = 64
) (
  input  wire logic              clk_i,
  /// The port's `mem_read_o`; its data are there in the next clock and stay until the next read.
  input  wire pim_pkg::access_t  read_i,
  output logic      [(AllBank*(Banks-1)+1)*AtomBytes*8-1:0] read_data_o,
  /// The port's `mem_write_o`, with its data.
  input  wire pim_pkg::access_t  write_i,
  input  wire logic [(AllBank*(Banks-1)+1)*AtomBytes*8-1:0] write_data_i
);

  localparam int unsigned Memories = AllBank != 0 ? Banks : 1;
  localparam int unsigned AtomBits = $clog2(AtomBytes);
  localparam int unsigned BankBits = $clog2(Memories);
  localparam int unsigned Depth = Banks * RowBytes / AtomBytes * Rows / Memories;
  localparam int unsigned IndexBits = $clog2(Depth);
  localparam int unsigned Bits = AtomBytes * 8;

  if (AllBank > 1) begin : gen_check_style
    $error("%m: AllBank must be 0 or 1, is %0d", AllBank);
  end
  if (64'(Banks) * 64'(RowBytes) * 64'(Rows) > 64'd1 << 28) begin : gen_check_size
    $error("%m: more than 256 MiB of block memory: take fewer Rows");
  end

  logic [Memories-1:0][Bits-1:0] read_data;
  logic [Memories-1:0] writes;
  logic [IndexBits-1:0] read_index, write_index;

  assign read_index = read_i.addr[AtomBits+BankBits+:IndexBits];
  assign write_index = write_i.addr[AtomBits+BankBits+:IndexBits];

  if (AllBank != 0) begin : gen_all_bank
    // An atom by itself comes and goes in the lowest bits.
    logic all_q;
    logic [BankBits-1:0] bank_q;

    always_ff @(posedge clk_i) begin
      if (read_i.valid) begin
        all_q <= read_i.all;
        bank_q <= read_i.addr[AtomBits+:BankBits];
      end
    end

    for (genvar b = 0; b < Memories; b++) begin : gen_write
      localparam logic [BankBits-1:0] Bank = BankBits'(b);
      assign writes[b] = write_i.valid &&
                         (write_i.all || write_i.addr[AtomBits+:BankBits] == Bank);
    end

    always_comb begin
      read_data_o = read_data;
      if (!all_q) read_data_o[Bits-1:0] = read_data[bank_q];
    end
  end else begin : gen_per_bank
    assign writes = write_i.valid;
    assign read_data_o = read_data;
  end

  for (genvar m = 0; m < Memories; m++) begin : gen_memory
    logic [Bits-1:0] data;

    if (m == 0) begin : gen_first
      assign data = write_data_i[Bits-1:0];
    end else begin : gen_other
      assign data = write_i.all ? write_data_i[m*Bits+:Bits] : write_data_i[Bits-1:0];
    end

    pim_ram #(
      .Width(Bits),
      .Depth(Depth)
    ) u_ram (
      .clk_i,
      .write_i(writes[m]),
      .write_index_i(write_index),
      .write_data_i(data),
      .read_i(read_i.valid),
      .read_index_i(read_index),
      .read_data_o(read_data[m])
    );
  end

  // An access says more than a memory needs.
  logic unused;
  assign unused = ^{read_i, write_i};

endmodule

`default_nettype wire
