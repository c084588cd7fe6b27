"""Pin golden values and defaults: python -m tests.golden

Files of stages that are new, and those whose config class has a higher VERSION than they hold, are written; others get
the values and defaults that they do not name yet. What is pinned for the present VERSION is never overwritten: raise
VERSION where results changed. Where only a library's version moved a value, no result of ours is wrong: delete the
stage's file and pin it.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads, as in tests/conftest.py


def main() -> int:
    """Pin; exit code 1, and the reasons, if something may not be pinned."""
    from tests.golden import defaults, pinned
    from tests.golden.stages import RUNS

    refused = []
    for stage, run in RUNS.items():
        config, there = defaults.config_of(stage), pinned.load(stage)
        with tempfile.TemporaryDirectory() as folder:
            found = run(Path(folder))
        if why := pinned.refuse(config, there, found.moved):
            refused.append(f"{stage}: {why}")
            continue
        if there is None or there["VERSION"] != config.VERSION:
            pinned.dump(stage, {"VERSION": config.VERSION, "libraries": pinned.libraries()} | found.plain())
            print(f"{stage}: pinned VERSION {config.VERSION}")
        elif names := found.added(there):
            new = found.plain()
            for kind in ("exact", "near"):
                there[kind] |= {name: value for name, value in new[kind].items() if name in names}
            pinned.dump(stage, there)
            print(f"{stage}: pinned {', '.join(names)}")
    refused += defaults.pin()
    if refused:
        print("\n".join(refused), file=sys.stderr)
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
