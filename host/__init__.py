"""Model front end, CPU runtime, PIM driver, executor, platforms, command line and reports."""
