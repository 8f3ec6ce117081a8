"""Model front end: configurations, graph builders, weights, and the loader of model files.

`loader.load_model` is the way in; everything it accepts ends as one `graph.Graph`.
"""
