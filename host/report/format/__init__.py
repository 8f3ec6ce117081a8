"""What report.json holds, as types: the whole (`report`) and its parts.

A part that a run can lack is null or absent. Keys that are not here are let through. A new key is
`NotRequired`, so that reports before it are still read; a key that means something else needs a new
`format` (`versions`).
"""
