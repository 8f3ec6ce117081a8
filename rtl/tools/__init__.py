"""Programs that work on the hardware: generator, linters, proofs, synthesis."""
