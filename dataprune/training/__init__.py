"""A training: the Lightning module, its callbacks, samplers and schedules, and what it records."""
