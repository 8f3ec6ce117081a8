// What stands behind the memory port on an FPGA: block memory, or a stub where a PHY goes. Beside pim.f.
fpga/pim_memory_ram.sv
fpga/pim_board_ram.sv
fpga/pim_phy_stub.sv
