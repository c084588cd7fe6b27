"""Pure functions of arrays: which ids to keep within a budget."""
