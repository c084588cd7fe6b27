"""Pure functions of arrays: one number an example (or a class), float32, higher = kept first."""
