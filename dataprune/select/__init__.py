"""The command `python -m dataprune.select`: selection without our trainer, from arrays, metadata and file lists."""
