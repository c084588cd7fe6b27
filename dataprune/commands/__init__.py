"""What commands do that are no job: selection from arrays on disk, from metadata and from file lists."""
