"""The command line: look into a foreign checkpoint, or write it as a plain one.

python -m dataprune.checkpoints inspect FILE
python -m dataprune.checkpoints convert FILE [OUT]
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch

from dataprune.checkpoints.conversion import Converted, convert
from dataprune.checkpoints.loading import check_claims, report
from dataprune.errors import ConfigError, Shown
from dataprune.store.files import whole_file, write_json


def main(words: list[str] | None = None) -> int:
    """Parse the command line and do it; the exit code is 1, and one line says why, where a file will not do."""
    parser = argparse.ArgumentParser(prog="python -m dataprune.checkpoints", description=__doc__)
    parser.add_argument("command", choices=("inspect", "convert"))
    parser.add_argument("file", type=Path)
    parser.add_argument("out", nargs="?", type=Path, help="of convert: the file of weights; default: FILE.plain.pth")
    parser.add_argument("--format", help="the only layout that will do; default: as the file's names tell")
    parser.add_argument("--lth-weights", default="ticket", choices=("ticket", "trained"), help="of a lottery ticket")
    parser.add_argument("--density", type=float, help="share of the backbone's weights that must be left")
    parser.add_argument("--json", action="store_true", help="print the whole report")
    args = parser.parse_args(words)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        found = convert(args.file, "file", format=args.format, weights=args.lth_weights)
        said = report(found)
        check_claims(found, said, args.density, "density")
        if args.command == "convert":
            said["written"] = str(write(found, said, args.out or args.file.with_name(f"{args.file.name}.plain.pth")))
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(said, indent=1) if args.json else "\n".join(lines(said)))
    return 0


def write(found: Converted, said: dict[str, Any], out: Path) -> Path:
    """Write weights under timm's names, with their masks, to `out`, and the report beside it; return the path.

    The file is {state_dict, masks, arch, needs}; timm and `load` read it. Raises ConfigError where a tensor has no
    place, or `out` is the file itself.
    """
    if found.ledger.unknown:
        unknown = Shown(f"{len(found.ledger.unknown)} unknown {found.ledger.unknown[:3]}")
        raise ConfigError("file", unknown, f"only tensors of the format {found.format}")
    if out.resolve() == found.file.path.resolve():
        raise ConfigError("out", str(out), "another file than the one that is read")
    content = {
        "state_dict": found.ledger.tensors,
        "masks": found.ledger.masks,
        "arch": found.arch,
        "needs": found.needs,
    }
    with whole_file(out) as file:
        torch.save(content, file)
    write_json(out.with_name(f"{out.name}.report.json"), said)
    return out


def lines(said: dict[str, Any]) -> list[str]:
    """Return the report for people: one line a layer that can be pruned, and what is left over."""
    found = [f"{said['file']}: {said['format']}, {said['arch'] or 'unknown network'}, {len(said['tensors'])} tensors"]
    for name, (zeros, total) in said["per_layer"].items():
        found.append(f"  {name:<40} {total:>10} weights, density {1 - zeros / max(1, total):.4f}")
    for figure in ("backbone", "all_prunable"):
        found.append(f"{figure}: density {1 - said[figure]['sparsity']:.4f} of {said[figure]['total']} weights")
    masks = f"{len(said['masks'])} stored" if said["masks"] else "none stored: zeros of the weights"
    found.append(f"masks: {masks}; needs: {said['needs'] or 'nothing'}; images: {said['interpolation']}")
    for title in ("dropped", "made"):
        found += [f"{title}: {name} ({why})" for name, why in said[title].items()]
    found += [f"beside: {', '.join(said['beside'])}"] if said["beside"] else []
    found += [f"UNKNOWN: {name}" for name in said["unknown"]]
    return found + ([f"written: {said['written']}"] if "written" in said else [])


if __name__ == "__main__":
    sys.exit(main())
