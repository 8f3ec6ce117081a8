"""docs/paper.md: the paper's tables and figures one by one, published numbers beside ours."""
