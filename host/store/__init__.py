"""What is kept on disk between runs, and the keys of the code that made it."""
