"""Checkpoints, score files, dynamics and lists of other programs that are broken, or of something else."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.faults.bad import Bad, Prepare, both, raw, text

N, CLASSES = 62 * 6, 62  # of the tiny source
CHECKPOINT = ["method=entropy", "surrogate.checkpoint=w.pt"]
DYNAMICS = ["method=variability", "surrogate.dynamics=seen"]
CLASS_SCORES = ["method=influence", "method.path=s.npy"]


class Malicious:
    """Makes a file when it is unpickled by a reader that believes what it reads."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch store-train-harm; mkdir -p store/train/harm",)


def scores(suffix: str) -> list[str]:
    """Return the words of a job with external scores."""
    return ["method=external", f"method.path=s{suffix}"]


def weights(change: Callable[[dict], object] | None = None, n_classes: int = CLASSES, width: int = 4) -> Prepare:
    """Write a checkpoint of the tiny network, with changes made to its tensors by name."""

    def prepare(folder: Path) -> None:
        import torch

        from dataprune.models.networks import Network, cnn

        state = dict(Network(cnn(1, width=width), n_classes).state_dict())
        torch.save(state if change is None else change(state), folder / "w.pt")

    return prepare


def flipped(member: str) -> Prepare:
    """Write a checkpoint with a bit flipped in the middle of a member of its archive."""

    def flip(folder: Path) -> None:
        path = folder / "w.pt"
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            inside = next(name for name in archive.namelist() if name.endswith(member))
            at = content.index(archive.read(inside)) + archive.getinfo(inside).file_size // 2
        content[at] ^= 4
        path.write_bytes(content)

    return both(weights(), flip)


def with_nan(state: dict) -> dict:
    """Make one weight no number."""
    state["head.weight"][0, 0] = float("nan")
    return state


def array(values: object, name: str = "s.npy") -> Prepare:
    """Write an array."""
    return lambda folder: np.save(folder / name, np.asarray(values))


def table(*, ids: list | None = None, column: str = "score", values: list | None = None) -> Prepare:
    """Write a table of an id and a score a line."""
    ids = list(range(N)) if ids is None else ids
    values = [i / N for i in range(len(ids))] if values is None else values
    return text("s.csv", f"id,{column}\n" + "".join(f"{i},{v}\n" for i, v in zip(ids, values, strict=True)))


def pickled(content: object, name: str) -> Prepare:
    """Write a pickle."""
    return raw(name, pickle.dumps(content))


def seen(*epochs: np.ndarray, start: int = 0, suffix: str = "") -> Prepare:
    """Write dynamics: one array an epoch."""

    def prepare(folder: Path) -> None:
        (folder / "seen").mkdir()
        for epoch, values in enumerate(epochs, start):
            np.save(folder / "seen" / f"{epoch}{suffix}.npy", values)

    return prepare


def recorded(n: int = N, **header: object) -> Prepare:
    """Write dynamics as our Recorder does, with changes made to their header."""

    def prepare(folder: Path) -> None:
        (folder / "seen").mkdir()
        np.save(folder / "seen" / "p_true.npy", np.full((2, n), 0.5, np.float32))
        said = {"n": n, "epochs": 2, "n_classes": None, "fingerprint": None, "unseen": {"0": 0, "1": 0}} | header
        (folder / "seen" / "dynamics.json").write_text(json.dumps(said))

    return prepare


def odd(n: int, **at: float) -> np.ndarray:
    """Return n probabilities of a half, but for the ids named i0, i1, ..."""
    values = np.full(n, 0.5, np.float32)
    for name, value in at.items():
        values[int(name[1:])] = value
    return values


CHECKPOINTS = [
    Bad("no such checkpoint", CHECKPOINT, "surrogate.checkpoint"),
    Bad("a folder for a checkpoint", CHECKPOINT, "surrogate.checkpoint", lambda folder: (folder / "w.pt").mkdir()),
    Bad("an empty checkpoint", CHECKPOINT, "surrogate.checkpoint", raw("w.pt", b"")),
    Bad("a checkpoint of text", CHECKPOINT, "surrogate.checkpoint", text("w.pt", "weights")),
    Bad("a checkpoint that runs a command", CHECKPOINT, "surrogate.checkpoint", pickled(Malicious(), "w.pt")),
    Bad("a checkpoint of a list", CHECKPOINT, "surrogate.checkpoint", weights(lambda state: list(state.values()))),
    Bad("a checkpoint of a wider network", CHECKPOINT, "surrogate.checkpoint", weights(width=8)),
    Bad("a checkpoint of other classes", CHECKPOINT, "surrogate.checkpoint", weights(n_classes=10)),
    Bad("a checkpoint of another network", [*CHECKPOINT, "model@surrogate.model=resnet9"], "surrogate.checkpoint",
        weights()),
    Bad("a checkpoint without its head", CHECKPOINT, "surrogate.checkpoint",
        weights(lambda state: {name: t for name, t in state.items() if "head" not in name})),
    Bad("a checkpoint with more than one", CHECKPOINT, "surrogate.checkpoint",
        weights(lambda state: state | {"head.scale": state["head.bias"]})),
    Bad("a checkpoint with NaN", CHECKPOINT, "surrogate.checkpoint", weights(with_nan)),
    Bad("a bit flipped in a checkpoint's weights", CHECKPOINT, "surrogate.checkpoint", flipped("data/0")),
    Bad("a bit flipped in a checkpoint's names", CHECKPOINT, "surrogate.checkpoint", flipped("data.pkl")),
    Bad("half a checkpoint", CHECKPOINT, "surrogate.checkpoint", both(weights(),
        lambda folder: (folder / "w.pt").write_bytes((folder / "w.pt").read_bytes()[:5000]))),
    Bad("dynamics of a checkpoint", ["method=forgetting", "surrogate.checkpoint=w.pt"], "method", weights()),
]  # fmt: skip
SCORES = [
    Bad("no such scores", scores(".csv"), "method.path"),
    Bad("no scores named", ["method=external"], "method.path"),
    Bad("a file that nothing reads", ["method.path=s.csv"], "method.path", table()),
    Bad("scores with NaN", scores(".npy"), "method.path", array(odd(N, i3=np.nan))),
    Bad("scores with inf", scores(".npy"), "method.path", array(odd(N, i3=np.inf))),
    Bad("too few scores", scores(".npy"), "method.path", array(odd(N - 1))),
    Bad("a matrix of scores", scores(".npy"), "method.path", array(np.zeros((N, 2)))),
    Bad("scores of text", scores(".npy"), "method.path", array(["low"] * N)),
    Bad("scores of objects", scores(".npy"), "method.path",
        lambda folder: np.save(folder / "s.npy", np.array([None] * N), allow_pickle=True)),
    Bad("half an array", scores(".npy"), "method.path", raw("s.npy", b"\x93NUMPY\x01\x00v\x00{'descr': ")),
    Bad("an array of nothing", scores(".npy"), "method.path", raw("s.npy", b"")),
    Bad("a table of nothing", scores(".csv"), "method.path", text("s.csv")),
    Bad("a table without scores", scores(".csv"), "method",
        text("s.csv", "id\n" + "".join(f"{i}\n" for i in range(N)))),
    Bad("another column", [*scores(".csv"), "method.score.column=loss"], "column", table()),
    Bad("an id twice", scores(".csv"), "method.path", table(ids=[0, *range(N - 1)])),
    Bad("an id too many", scores(".csv"), "method.path", table(ids=list(range(N + 1)))),
    Bad("an id of text", scores(".csv"), "method.path", table(ids=["first", *range(1, N)])),
    Bad("a score of text", scores(".csv"), "method", table(values=["high", *range(1, N)])),
    Bad("names of another data set", scores(".csv"), "method.path",
        text("s.csv", "name,score\n" + "".join(f"n{i}.jpg,{i}\n" for i in range(N)))),
    Bad("a ragged table", scores(".csv"), "method.path", text("s.csv", "id,score\n0,1\n1,2,3\n")),
    Bad("a cut JSON", scores(".json"), "method.path", text("s.json", '{"0": 0.5, "1"')),
    Bad("a JSON of a number", scores(".json"), "method.path", text("s.json", "5")),
    Bad("a Parquet of text", scores(".parquet"), "method.path", text("s.parquet", "id,score")),
    Bad("scores that run a command", scores(".pickle"), "method.path", pickled(Malicious(), "s.pickle")),
    Bad("a cut pickle", scores(".pickle"), "method.path", raw("s.pickle", pickle.dumps(list(range(99)))[:40])),
    Bad("scores with the labels of others", scores(".pickle"), "method.path",
        pickled({"score": np.zeros(N), "targets": np.zeros(N, int)}, "s.pickle")),
    Bad("scores for other classes", CLASS_SCORES, "method.path", array(np.zeros(10))),
    Bad("class scores of text", CLASS_SCORES, "method.path", text("s.npy", "0.5")),
    Bad("a cost of text", scores(".npy"), "cost", both(array(odd(N)), text("cost.json", "an hour"))),
    Bad("a list of unknown classes", ["method=handpicked_file", "method.path=l.txt"], "method.path",
        text("l.txt", "?\n")),
    Bad("a list of no classes", ["method=handpicked_file", "method.path=l.txt"], "method.path", text("l.txt")),
]  # fmt: skip
RECORDINGS = [
    Bad("no such dynamics", DYNAMICS, "surrogate.dynamics"),
    Bad("an empty folder of dynamics", DYNAMICS, "surrogate.dynamics", lambda folder: (folder / "seen").mkdir()),
    Bad("dynamics of another data set's size", DYNAMICS, "surrogate.dynamics", seen(odd(9), odd(9))),
    Bad("dynamics with an epoch missing", DYNAMICS, "surrogate.dynamics", both(seen(odd(N), odd(N), odd(N)),
        lambda folder: (folder / "seen" / "1.npy").unlink())),
    Bad("dynamics with NaN", DYNAMICS, "surrogate.dynamics", seen(odd(N), odd(N, i7=np.nan))),
    Bad("probabilities above 1", DYNAMICS, "surrogate.dynamics", seen(odd(N), odd(N, i7=1.5))),
    Bad("outputs without their ids", DYNAMICS, "surrogate.dynamics",
        seen(np.zeros((N, CLASSES), np.float32), suffix="_Output")),
    Bad("outputs of fewer classes", DYNAMICS, "surrogate.dynamics", seen(np.full((N, 10), 0.1), np.full((N, 10), 0.1))),
    Bad("a softmax that sums to two", DYNAMICS, "surrogate.dynamics", seen(*[np.full((N, CLASSES), 2 / CLASSES)] * 2)),
    Bad("dynamics that run a command", ["method=variability", "surrogate.dynamics=seen.pickle"], "surrogate.dynamics",
        pickled({"training_dynamics": [Malicious()]}, "seen.pickle")),
    Bad("a recording of fewer", DYNAMICS, "surrogate.dynamics", recorded(n=9)),
    Bad("a recording of another fingerprint", DYNAMICS, "surrogate.dynamics", recorded(fingerprint="ab" * 32)),
    Bad("a recording without epochs", DYNAMICS, "surrogate.dynamics", recorded(unseen={})),
    Bad("a recording with a broken header", DYNAMICS, "surrogate.dynamics", both(recorded(),
        text("seen/dynamics.json", '{"n": 3'))),
    Bad("a quantity that was not recorded", ["method=forgetting", "surrogate.dynamics=seen"], "surrogate.dynamics or "
        "method", seen(odd(N), odd(N))),
    Bad("a window longer than the recording", ["method=dynamic_uncertainty", "surrogate.dynamics=seen"],
        "method.score.window", seen(odd(N), odd(N))),
]  # fmt: skip
FILES = [*CHECKPOINTS, *SCORES, *RECORDINGS]
