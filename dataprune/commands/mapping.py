"""Write mapping_dict.txt: which columns of a model of many classes are those of a smaller set (21K and 1K of ImageNet).

python -m dataprune.select mapping IMAGENET21K/train IMAGENET1K/train -o mapping_dict.txt
"""

import argparse
from pathlib import Path

from dataprune.data.folder import class_folders
from dataprune.errors import ConfigError
from dataprune.formats.imagenet import write_mapping


def run(words: list[str]) -> None:
    """Write the file for two folders of class folders."""
    parser = argparse.ArgumentParser(
        prog="python -m dataprune.select mapping",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("large", help="the folder with the class folders of the model's set")
    parser.add_argument("small", help="that of the smaller set")
    parser.add_argument("-o", "--output", default="mapping_dict.txt", help="default: mapping_dict.txt")
    parser.add_argument("--begins", default="n", help="only class folders that begin so; default: n")
    args = parser.parse_args(words)
    for folder in (args.large, args.small):
        if not Path(folder).is_dir():
            raise ConfigError("folder", folder, "an existing folder of class folders")
    large, small = (class_folders(Path(folder), args.begins) for folder in (args.large, args.small))
    write_mapping(args.output, large, small)
    print(f"{len(small)} of {len(large)} classes: {args.output}")
