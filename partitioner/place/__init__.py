"""Placements with the least sum of times, and the baselines they are held against."""
