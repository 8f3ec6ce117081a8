// What a technology may have a better version of: clock gate, memory, multiplier. Read before pim.f.
primitives/pim_clock_gate.sv
primitives/pim_mul.sv
primitives/pim_ram.sv
