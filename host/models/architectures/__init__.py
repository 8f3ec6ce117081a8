"""Transformers by their `model_type`: one file for each architecture.

`registry` finds the files; nothing names them. docs/add-an-architecture.md adds one.
"""
