"""Decoders with rotary positions: one graph with switches, of which each architecture sets some.

`family` and `windows` have what the files of `architectures` derive from; `config` what a
config.json says, `reading` how it is read, `rope` the rotary positions, `masks` who attends to
whom, `blocks` the operators of a layer.
"""
