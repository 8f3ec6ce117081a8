"""The model as the partitioner sees it, profile runs, policies and plans."""
