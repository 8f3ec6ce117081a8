"""Synthesis, place and route: `python -m pimloop.rtl.tools.synth` (docs/synthesis.md).

`tools` runs Yosys and nextpnr and reads what they report, `designs` says what is synthesised,
`report` writes the tables, `__main__` is the command.
"""
