"""Selection from pools of any size: pure functions from file to file, on any engine."""
