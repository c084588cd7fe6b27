"""Draw a report again: of a run's or sweep's output folder, or of all rows in a store."""

import argparse
import json
import sys
from pathlib import Path

from dataprune.report.document import draw
from dataprune.store import Store


def main() -> int:
    """Parse the command line and draw; the exit code is 1 where there is nothing to draw."""
    parser = argparse.ArgumentParser(prog="python -m dataprune.report", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="output folder of a run or sweep; without it: all rows")
    parser.add_argument("--store", type=Path, default=Path("store"), help="default: ./store")
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="only rows with this value")
    parser.add_argument("--out", type=Path, default=Path("outputs/report"), help="where the page of all rows goes")
    args = parser.parse_args()
    folder = args.folder
    if folder is None:
        rows = Store(args.store).rows() if args.store.is_dir() else []
        wanted = dict(pair.split("=", 1) for pair in args.where)
        rows = [row for row in rows if all(str(row.get(key)) == value for key, value in wanted.items())]
        folder = args.out
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rows.json").write_text(json.dumps(rows))
    if draw(folder, args.store) is None:
        print(f"no rows: nothing in {args.folder or args.store} to report on", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
