"""The report of a run, and everything that shows it."""
