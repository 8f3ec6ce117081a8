// What simulations of the device have beside pim.f: without SYNTHESIS pim_top watches itself.
pim_lanes_native_sim.sv
pim_timing_check.sv
