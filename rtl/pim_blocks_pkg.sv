/// What the three blocks of pim_top tell each other: front end, engine and channel.
///
/// Wide data go beside these bundles, not in them, so that a simulator does not move them whenever a
/// flag changes.
package pim_blocks_pkg;

  /// What the device is built of; the parameters of pim_top say what each is.
  typedef struct packed {
    logic all_bank;
    logic native_lanes;
    logic control_only;
    int unsigned banks;
    int unsigned bank_groups;
    int unsigned row_bytes;
    int unsigned rows;
    int unsigned atom_bytes;
    int unsigned beat_bytes;
    int unsigned ck_ratio;
    int unsigned lanes;
    int unsigned rows_per_beat;
    int unsigned acc_groups;
    int unsigned scalar_depth;
    int unsigned lane_latency;
    int unsigned vector_setup;
    int unsigned transpose_ways;
    int unsigned tck_fs;
  } geometry_t;

  /// Front end to engine: work on the descriptor in hand.
  typedef struct packed {
    logic copy_start;
    logic seq_start;
    logic copy_active;          // a copy has the DMA and the way to the channel, from its second clock
  } work_t;

  /// Engine to front end: its end.
  typedef struct packed {
    logic copy_done;
    logic seq_done;
    pim_isa_pkg::code_e copy_code;  // with copy_done
  } done_t;

  /// Engine to front end: what a copy asks of the DMA; its transfer is a pim_pkg::job_t.
  typedef struct packed {
    logic rd_start;
    logic wr_start;
    logic rd_room;              // for 16 more beats
    logic wr_valid;
  } dma_ask_t;

  /// Front end to engine: the state of the DMA.
  typedef struct packed {
    logic rd_busy;
    logic rd_error;
    logic rd_burst;             // a burst of `rd_burst_beats` was asked for
    logic [4:0] rd_burst_beats;
    logic rd_valid;             // cannot be refused
    logic wr_busy;
    logic wr_error;
    logic wr_ready;
  } dma_state_t;

  /// Front end to channel: self-refresh, and when to count what.
  typedef struct packed {
    logic wake;                 // pulse: leave self-refresh
    logic sleep;                // level: close all rows and enter it
    logic busy;                 // a list is running
    logic stall;                // the DMA waits for host memory
    logic rd_beat;              // a beat of 64 bytes comes from host memory
    logic wr_beat;              // a beat goes there
    logic wr_status;            // that beat has the status of a descriptor alone: 4 bytes are strobed
    logic count_clear;          // start the counters of a descriptor
    logic count_capture;        // take them; they are out one clock later
  } control_t;

  /// Engine to channel: a span waits, and what may be done with it.
  typedef struct packed {
    logic span_valid;
    logic flush;                // drop the spans that are waiting
    logic copy_out_room;        // for one more atom
    logic copy_in_ready;        // one more atom is there
    logic lanes_busy;
    logic [3:0] mac;            // rows that the lanes multiply and add in this clock
  } engine_state_t;

  /// Channel to engine.
  typedef struct packed {
    logic span_ready;
    logic idle;                 // no span waits and no data are on their way
    logic copy_issue;           // a column command of a copy goes out
  } channel_state_t;

  /// A command at the memory port, as wide as the largest device needs: 256 banks, 4 GiB.
  typedef struct packed {
    pim_pkg::dram_cmd_e cmd;
    logic all;                  // for every bank
    logic [7:0] bank;
    logic [24:0] row;           // of ACT; of RD and WR the row that is open there
    logic [24:0] column;        // of RD and WR
    logic [3:0] slot;           // DRAM clock of the fabric clock in which it leaves
  } command_t;

endpackage
