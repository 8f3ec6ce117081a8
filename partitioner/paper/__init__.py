"""The paper's published measurements, and its tables made again from them."""
