"""The whole way from a model to a report: profile, partition, execute, verify.

`flow` walks it; `network` makes the partitioner's graph of a model, `profiling` the costs,
`planning` the plans, `execute` runs assignments on devices, `cost_store` and `state` keep what was
found, `record` turns it into JSON.
"""
