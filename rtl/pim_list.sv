`default_nettype none

/// List engine: fetches descriptors, has them checked and executed, writes their status, and
/// follows the chain until END or an error.
///
/// Descriptors are executed strictly one after the other; the next one is fetched when the
/// status of the last one has been acknowledged by the host memory. That is also why a loop in
/// the chain is always noticed: a descriptor met again has a status that is not PENDING.
module pim_list (
  input  wire logic                     clk_i,
  input  wire logic                     rst_ni,
  input  wire logic                     doorbell_i,
  input  wire logic [63:0]              list_i,
  input  wire logic [63:0]              window_base_i,
  input  wire logic [63:0]              window_size_i,
  input  wire logic [31:0]              chain_limit_i,
  output logic                          busy_o,
  /// Something here may change without `doorbell_i`, `copy_done_i` or `seq_done_i`.
  output logic                          active_o,
  /// Pulse: the list has ended, with this code.
  output logic                          ended_o,
  output      pim_isa_pkg::code_e       end_code_o,
  output logic      [63:0]              desc_addr_o,
  output logic      [31:0]              desc_count_o,

  /// Device memory: leave self-refresh, enter it, it is entered.
  output logic                          wake_o,
  output logic                          sleep_o,
  input  wire logic                     asleep_i,

  output logic                          rd_start_o,
  input  wire logic                     rd_busy_i,
  input  wire logic                     rd_error_i,
  input  wire logic                     rd_valid_i,
  input  wire logic [511:0]             rd_data_i,
  output logic                          wr_start_o,
  output logic      [63:0]              wr_strobe_o,
  input  wire logic                     wr_busy_i,
  input  wire logic                     wr_error_i,
  output logic                          wr_valid_o,
  input  wire logic                     wr_ready_i,
  output logic      [511:0]             wr_data_o,
  output      pim_pkg::job_t            job_o,

  output logic                          check_start_o,
  input  wire logic                     check_done_i,
  input  wire pim_isa_pkg::code_e       check_code_i,
  output logic                          copy_start_o,
  input  wire logic                     copy_done_i,
  input  wire pim_isa_pkg::code_e       copy_code_i,
  output logic                          seq_start_o,
  input  wire logic                     seq_done_i,
  /// The descriptor in hand.
  output      pim_isa_pkg::descriptor_t desc_o,

  /// Start the counters of a descriptor.
  output logic                          count_clear_o,
  /// Take them; used from the next clock on.
  output logic                          count_capture_o,
  input  wire logic [pim_isa_pkg::Counters-1:0][31:0] count_i,
  input  wire logic [63:0]              count_cycles_i
);

  typedef enum logic [3:0] {
    StIdle, StFirst, StFetch, StFetched, StCheck, StExecute, StRecord, StRecorded, StStatus,
    StWritten, StSleep, StEnd
  } state_e;

  localparam logic [63:0] StatusStrobe = 64'hF000_0000_0000_0000;

  state_e state_q;
  pim_isa_pkg::descriptor_t desc_q;
  logic [63:0] addr_q;
  logic [31:0] index_q;
  pim_isa_pkg::code_e code_q;
  pim_isa_pkg::record_t record;
  logic sent_q;
  logic first_misaligned, first_outside;
  logic is_copy, is_compute;
  pim_isa_pkg::opcode_e opcode;
  pim_isa_pkg::word_status_t status;

  assign opcode = pim_isa_pkg::opcode_e'(desc_q.control.opcode);
  assign is_copy = pim_isa_pkg::is_copy(opcode);
  assign is_compute = pim_isa_pkg::is_compute(opcode);
  assign first_misaligned = addr_q[5:0] != '0;
  assign first_outside = addr_q < window_base_i ||
      65'(addr_q) + 65'd64 > 65'(window_base_i) + 65'(window_size_i);
  assign status = '{position: index_q[23:0], code: code_q};

  assign busy_o = state_q != StIdle;
  assign active_o = !(state_q inside {StIdle, StExecute});
  assign ended_o = state_q == StEnd;
  assign end_code_o = code_q;
  assign desc_addr_o = addr_q;
  assign desc_count_o = index_q;
  assign desc_o = desc_q;
  assign wake_o = state_q == StIdle && doorbell_i;
  assign sleep_o = state_q == StSleep;

  assign rd_start_o = state_q == StFetch;
  assign count_clear_o = state_q == StFetch;
  assign check_start_o = state_q == StFetched && code_q == pim_isa_pkg::CodePending &&
                         !rd_valid_i && !rd_busy_i && !rd_error_i;
  assign copy_start_o = state_q == StCheck && check_done_i && is_copy &&
                        check_code_i == pim_isa_pkg::CodeDone;
  assign seq_start_o = state_q == StCheck && check_done_i && is_compute &&
                       check_code_i == pim_isa_pkg::CodeDone;

  assign wr_start_o = state_q inside {StRecord, StStatus};
  assign wr_strobe_o = state_q == StRecord ? '1 : StatusStrobe;
  assign wr_valid_o = state_q inside {StRecorded, StWritten} && !sent_q;
  assign wr_data_o = state_q == StRecorded ? record : {status, 480'd0};
  assign count_capture_o = state_q == StRecord;

  assign record = pim_isa_pkg::record_of(status, count_cycles_i, count_i);

  always_comb begin
    job_o = '0;
    job_o.addr = state_q == StRecord ? addr_q + 64'd64 : addr_q;
    job_o.rows = 32'd1;
    job_o.bytes = 32'd64;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      desc_q <= '0;
      addr_q <= '0;
      index_q <= '0;
      code_q <= pim_isa_pkg::CodePending;
      sent_q <= 1'b0;
    end else begin
      if (wr_valid_o && wr_ready_i) sent_q <= 1'b1;
      unique case (state_q)
        StIdle: if (doorbell_i) begin
          addr_q <= list_i;
          index_q <= '0;
          code_q <= pim_isa_pkg::CodePending;
          state_q <= StFirst;
        end
        StFirst: begin
          // No descriptor to write a status to: the code goes to the STATUS register alone.
          state_q <= StSleep;
          if (first_misaligned) code_q <= pim_isa_pkg::CodeMisaligned;
          else if (first_outside) code_q <= pim_isa_pkg::CodeHostRange;
          else state_q <= StFetch;
        end
        StFetch: begin
          code_q <= pim_isa_pkg::CodePending;
          desc_q <= '0;
          state_q <= StFetched;
        end
        StFetched: begin
          if (rd_valid_i) begin
            desc_q <= rd_data_i;
            if (index_q >= chain_limit_i) code_q <= pim_isa_pkg::CodeChain;
            else if (rd_data_i[511:480] != '0) code_q <= pim_isa_pkg::CodeLoop;
          end else if (!rd_busy_i) begin
            state_q <= StCheck;
            if (rd_error_i) code_q <= pim_isa_pkg::CodeAxiRead;
            if (rd_error_i || code_q != pim_isa_pkg::CodePending) state_q <= StStatus;
          end
        end
        StCheck: if (check_done_i) begin
          code_q <= check_code_i;
          if (check_code_i != pim_isa_pkg::CodeDone) state_q <= StStatus;
          else if (is_copy || is_compute) state_q <= StExecute;
          else state_q <= desc_q.control.record ? StRecord : StStatus;
        end
        StExecute: begin
          if (copy_done_i) code_q <= copy_code_i;
          if (copy_done_i || seq_done_i) begin
            state_q <= desc_q.control.record &&
                       (!copy_done_i || copy_code_i == pim_isa_pkg::CodeDone) ? StRecord
                                                                              : StStatus;
          end
        end
        StRecord: begin
          sent_q <= 1'b0;
          state_q <= StRecorded;
        end
        StRecorded: if (sent_q && !wr_busy_i) begin
          if (wr_error_i) code_q <= pim_isa_pkg::CodeAxiWrite;
          state_q <= StStatus;
        end
        StStatus: begin
          sent_q <= 1'b0;
          state_q <= StWritten;
        end
        StWritten: if (sent_q && !wr_busy_i) begin
          index_q <= index_q + 32'd1;
          if (wr_error_i && code_q == pim_isa_pkg::CodeDone) code_q <= pim_isa_pkg::CodeAxiWrite;
          if (code_q != pim_isa_pkg::CodeDone || wr_error_i ||
              opcode == pim_isa_pkg::OpcodeEnd) begin
            state_q <= StSleep;
          end else begin
            addr_q <= {desc_q.next_hi, desc_q.next_lo};
            state_q <= StFetch;
          end
        end
        StSleep: if (asleep_i) state_q <= StEnd;
        default: state_q <= StIdle;
      endcase
    end
  end

endmodule

`default_nettype wire
