"""Results on disk by content; `python -m dataprune.store` keeps house."""

from dataprune.store.disk import about_disk, create_array
from dataprune.store.files import read_lines, whole_file, write_json
from dataprune.store.results import (
    DamagedResult,
    Recipe,
    Result,
    Store,
    check_file,
    check_records,
    describe,
    fingerprint,
    load,
)

__all__ = [
    "DamagedResult",
    "Recipe",
    "Result",
    "Store",
    "about_disk",
    "check_file",
    "check_records",
    "create_array",
    "describe",
    "fingerprint",
    "load",
    "read_lines",
    "whole_file",
    "write_json",
]
