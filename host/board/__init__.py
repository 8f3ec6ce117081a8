"""The paper's board: its graphs and measured costs, and the simulated platform beside it."""
