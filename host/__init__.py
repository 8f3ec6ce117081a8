"""Model front end, CPU runtime, PIM driver, executor, platforms, command line and reports."""

import os

# ONNX Runtime's Linux wheels send usage data from 1.29 on, and keep an identifier and a database in
# ~/.cache/Microsoft. It looks at this variable when it is first imported; a value of the user's own
# stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
