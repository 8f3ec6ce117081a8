"""Everything from a model to its schedules, and grids of such runs.

`pipeline` profiles, partitions, executes and verifies; `state` keeps executions so that an
interrupted run can continue, and `record` turns them into JSON. `sweep` runs a grid, with `cluster`
on other machines; `generate` goes token by token, `waves` records the signals of one operator.
"""
