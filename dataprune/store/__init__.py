"""Results on disk by content; `python -m dataprune.store` keeps house."""

from dataprune.store.results import (
    DamagedResult,
    Recipe,
    Result,
    Store,
    check_records,
    describe,
    fingerprint,
    load,
    read_lines,
    write_json,
)

__all__ = [
    "DamagedResult",
    "Recipe",
    "Result",
    "Store",
    "check_records",
    "describe",
    "fingerprint",
    "load",
    "read_lines",
    "write_json",
]
