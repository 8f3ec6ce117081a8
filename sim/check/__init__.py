"""What watches a simulation: the DRAM protocol of its command trace, and coverage."""
