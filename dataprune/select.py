"""Run `python -m dataprune.select`: which of its five commands runs; mistakes are one line."""

import os
import sys
import warnings

if __name__ == "__main__" and sys.path[0] == os.getcwd():
    # `python -m` looks into the current folder first: a random.py there would be taken for Python's own
    sys.path.append(sys.path.pop(0))

from omegaconf.errors import OmegaConfBaseException

from dataprune.errors import ConfigError


def main(words: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 1 = something given cannot work (argparse exits with 2 itself)."""
    words = sys.argv[1:] if words is None else words
    command = words[0] if words and words[0] in ("export", "import", "datacomp", "mapping") else "arrays"
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *rest: print(f"warning: {message}", file=sys.stderr)
            if command == "arrays":
                from dataprune.commands.arrays import run as run_arrays  # each command loads what it needs

                run_arrays(words)
            elif command == "datacomp":
                from dataprune.commands.datacomp import run as run_datacomp

                run_datacomp(words[1:])
            elif command == "mapping":
                from dataprune.commands.mapping import run as run_mapping

                run_mapping(words[1:])
            else:
                from dataprune.commands import convert

                (convert.run_export if command == "export" else convert.run_import)(words[1:])
    except (ConfigError, OSError, OmegaConfBaseException) as error:
        if os.environ.get("HYDRA_FULL_ERROR"):  # one name for `show me the stack trace` in the whole program
            raise
        print(str(error).splitlines()[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # a user's own selectors are found however the program is started, and hide nothing
    sys.exit(main())
