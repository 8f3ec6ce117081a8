"""Synthesis, place and route of the device: `python -m pimloop.rtl.synth` (docs/synthesis.md).

`tools` runs Yosys and nextpnr and reads what they report, `designs` says what is synthesised,
`report` writes the tables, `__main__` is the command.
"""
