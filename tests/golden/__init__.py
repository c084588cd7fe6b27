"""Golden values of the dear stages and the pinned table of defaults; `python -m tests.golden` pins them again."""
