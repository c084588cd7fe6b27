"""The command line: look into a foreign checkpoint, or write it as a plain one, or its backbone as ONNX.

python -m dataprune.checkpoints inspect FILE
python -m dataprune.checkpoints convert FILE [OUT]
python -m dataprune.checkpoints onnx FILE OUT.onnx [--batch 64] [--size 224]
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch

from dataprune.checkpoints import onnx
from dataprune.checkpoints.conversion import Converted, convert
from dataprune.checkpoints.loading import check_claims, report
from dataprune.errors import ConfigError, Shown, whole_number
from dataprune.models.networks import Network
from dataprune.store.files import whole_file, write_json


def main(words: list[str] | None = None) -> int:
    """Parse the command line and do it; the exit code is 1, and one line says why, where a file will not do."""
    parser = argparse.ArgumentParser(prog="python -m dataprune.checkpoints", description=__doc__)
    parser.add_argument("command", choices=("inspect", "convert", "onnx"))
    parser.add_argument("file", type=Path, help="a checkpoint; of onnx also the folder of a train or adopt result")
    parser.add_argument("out", nargs="?", type=Path, help="default: FILE.plain.pth of convert, FILE.onnx of onnx")
    parser.add_argument("--format", help="the only layout that will do; default: as the file's names tell")
    parser.add_argument("--lth-weights", default="ticket", choices=("ticket", "trained"), help="of a lottery ticket")
    parser.add_argument("--density", type=float, help="share of the backbone's weights that must be left")
    parser.add_argument("--json", action="store_true", help="print the whole report")
    parser.add_argument("--batch", type=int, default=64, help="of onnx: images at a time, fixed in the file")
    parser.add_argument("--size", type=int, help="of onnx: pixels a side; default: as a result's images, or 224")
    parser.add_argument("--model", help="of onnx: timm's name of the network; default: as the file's names tell")
    parser.add_argument("--constants", default="{}", type=json.loads, help="of onnx: of that network, as JSON")
    args = parser.parse_args(words)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        shown = done(args)
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(shown))
    return 0


def done(args: argparse.Namespace) -> list[str]:
    """Do what the command line says; return what to print. Raises ConfigError or OSError where a file will not do."""
    if args.command == "onnx" and args.file.is_dir():
        return exported(args, onnx.of_result(args.file))
    found = convert(args.file, "file", format=args.format, weights=args.lth_weights)
    said = report(found)
    check_claims(found, said, args.density, "density")
    if args.command == "onnx":
        return exported(args, onnx.of_checkpoint(found, args.model, args.constants))
    if args.command == "convert":
        said["written"] = str(write(found, said, args.out or args.file.with_name(f"{args.file.name}.plain.pth")))
    return [json.dumps(said, indent=1)] if args.json else lines(said)


def exported(args: argparse.Namespace, network: Network) -> list[str]:
    """Write a network's backbone as ONNX; return what to print."""
    out = args.out or args.file.with_name(f"{args.file.name}.onnx")
    if out.resolve() == args.file.resolve():
        raise ConfigError("out", str(out), "another file than the one that is read")
    for name, value in (("batch", args.batch), ("size", 1 if args.size is None else args.size)):
        whole_number(name, value, 1)
    said = onnx.export(network, out, args.batch, args.size)
    return [json.dumps(said, indent=1)] if args.json else onnx.lines(said)


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
