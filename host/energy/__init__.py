"""Energy: what counters and times cost by the constants of a platform file (docs/energy.md)."""
