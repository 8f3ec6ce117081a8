"""Synthesis, place and route of the device: `python -m rtl.synth`, described in docs/synthesis.md.

`tools` runs Yosys and nextpnr and reads what they report, `designs` says what is synthesised,
`report` writes the tables, `__main__` is the command.
"""
