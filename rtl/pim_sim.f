// What simulations of the device have beside pim.f: without SYNTHESIS pim_top watches itself, and
// sva/ binds checks to the handshakes of its blocks.
pim_lanes_native_sim.sv
pim_timing_check.sv
sva/pim_handshake_check.sv
sva/pim_burst_gen_sva.sv
sva/pim_copy_sva.sv
sva/pim_dma_rd_sva.sv
sva/pim_dma_wr_sva.sv
sva/pim_fifo_sva.sv
sva/pim_list_sva.sv
sva/pim_regs_sva.sv
sva/pim_seq_sva.sv
sva/pim_spans_sva.sv
