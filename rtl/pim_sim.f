// What simulations of the device have beside pim.f: without SYNTHESIS pim_top watches itself. The checks
// in sva/ are not among them, because they cost a whole device a quarter of its speed: benches bind them.
pim_lanes_native_sim.sv
pim_scalar_buf_sim.sv
pim_timing_check.sv
pim_transpose_block_sim.sv
