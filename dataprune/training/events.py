"""When weights are pruned: {epoch: sparsity} at whose beginning masks change, 0 = all weights are let in again.

Sparsity is a share of the weights from 0 to below 1; epochs count from 0. All raise ConfigError, by the name of the
constant, for what does not fit the epochs of the training.
"""

from dataprune.errors import ConfigError, Shown, whole_number

Events = dict[int, float]


def gradual(start: int, end: int, every: int, first: float, final: float) -> Events:
    """Return the cubic ramp (Zhu & Gupta 2017): final - (final - first)(1 - (e - start) / (end - start))^3 at e =
    start, start + every, ..., and at `end`, where it is `final` (code that leaves `end` out stops short of it)."""
    epochs = sorted({*range(start, end, every), end})
    ramp = {e: final - (final - first) * (1 - (e - start) / max(1, end - start)) ** 3 for e in epochs}
    return ramp | {end: final}


def gradual_of_str(start: int, end: int, final: float) -> Events:
    """Return the ramp of STR's code (Kusupati et al. 2020): final (1 - (1 - (e - start) / (end - start + 1))^3) at each
    epoch from `start` to `end`; what it does not reach at `end`, it has an epoch later."""
    return {e: final * (1 - (1 - (e - start) / (end - start + 1)) ** 3) for e in range(start, end + 1)} | {
        end + 1: final
    }


def alternating(epochs: int, warmup: int, phase: int, last_dense: int, final_sparse: int, sparsity: float) -> Events:
    """Return the phases of AC/DC (Peste et al. 2021): dense for `warmup` epochs, then sparse and dense ones in turn of
    `phase` epochs, beginning and ending with a sparse one, then `last_dense` dense and `final_sparse` sparse epochs.

    Of 100 epochs 10, 5, 10 and 15 are the published ones.
    """
    span = epochs - warmup - last_dense - final_sparse
    if span < phase or span % (2 * phase) != phase:
        found = Shown(f"{phase} ({span} epochs are left for phases)")
        expected = f"a length that fits an odd number of times between warmup={warmup} and the last_dense={last_dense} "
        raise ConfigError("phase", found, f"{expected}and final_sparse={final_sparse} of {epochs} epochs")
    events = {e: 0.0 if (e - warmup) // phase % 2 else sparsity for e in range(warmup, warmup + span, phase)}
    return events | {warmup + span: 0.0, epochs - final_sparse: sparsity}


def rounds(epochs: int, length: int, rewind: int, sparsity: float) -> Events:
    """Return when a lottery ticket is drawn (Frankle & Carbin 2019): after the first `length` epochs and after each
    `length - rewind` further ones; each draw takes the same share of what is left, the last one to `sparsity`."""
    whole_number("rewind", rewind, 0, length - 1, f"an epoch of the first round, whose length is {length}")
    draws, rest = divmod(epochs - length, length - rewind)
    if rest or draws < 1:
        expected = f"a first round after which others of length - rewind fit into {epochs} epochs, one at least: "
        raise ConfigError("length", length, f"{expected}{epochs} = length + draws * (length - {rewind})")
    events = {length + i * (length - rewind): 1 - (1 - sparsity) ** ((i + 1) / draws) for i in range(draws)}
    return events | {epochs - (length - rewind): sparsity}


def inside(name: str, epoch: int, epochs: int) -> int:
    """Return an epoch of the training before which something happens, or raise ConfigError."""
    return whole_number(name, epoch, 0, epochs - 1, f"an epoch of the {epochs} from 0: one at least comes after it")
