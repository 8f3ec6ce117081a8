"""The fewest profile runs that measure every operator and transfer."""
