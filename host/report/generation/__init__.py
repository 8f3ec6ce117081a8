"""What a generation took, and what it would take under the other policies.

`numbers` computes it from plans and executions, `format` has the types of generation.json that it
makes, `page` is report.html.
"""
