"""Float32 runs that an execution is held against: segments again, decisions, measured limits."""
