"""Device-mapped graphs, profiling plans, cost graphs and exact partitioning; knows no device."""
