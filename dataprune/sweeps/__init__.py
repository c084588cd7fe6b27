"""A sweep: all jobs of one command in one driver, their stages in one graph."""
