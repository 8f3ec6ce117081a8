"""The whole way from a model to a report, and what is made of several such runs.

`flow` profiles, partitions, executes and verifies; `state` keeps executions for a run that is taken
up again, and `record` turns them into JSON. `sweep` runs a grid, with `cluster` on other machines;
`generate` goes token by token, `waves` records the signals of one operator.
"""
