"""What the methods are for, small and honest: glyphs to digits, averaged over seeds."""

import numpy as np
import pytest

SETTING = ["source.reader.per_class=40", "surrogate.model.width=16", "pretrain.model.width=16", "surrogate.epochs=8"]
SETTING += ["pretrain.epochs=6", "transfer.epochs=50", "target.reader.shots=10", "prune_ratio=0.8", "run.threads=1"]
SEEDS = range(4)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One store for all tests: every model trains once."""
    return tmp_path_factory.mktemp("acceptance")


@pytest.fixture
def accuracy(jobs, shared):
    """Mean accuracy on the digits over the seeds, by method; 12 of 62 classes are kept."""
    jobs.store = shared / "store"
    methods = ["random_classes", "label_mapping", "feature_mapping", "label_mapping_reverse"]
    return {
        method: np.mean(
            [jobs.run(f"method={method}", f"seed={s}", *SETTING)[0]["metrics"]["target_top1"] for s in SEEDS]
        )
        for method in methods
    }


@pytest.mark.parametrize("method", ["label_mapping", "feature_mapping"])
def test_classes_that_the_target_calls_for_are_worth_at_least_random_ones(accuracy, method):
    assert accuracy[method] >= accuracy["random_classes"], accuracy


def test_classes_that_it_does_not_call_for_are_worth_less(accuracy):
    assert accuracy["label_mapping_reverse"] < accuracy["random_classes"], accuracy
