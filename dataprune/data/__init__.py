"""Data sets, the example table, loaders and augmentation."""
