"""Blocks of ids that fit a cache."""

import pytest

from dataprune import blocks
from dataprune.blocks import spans


@pytest.mark.parametrize(("n", "bytes_per_id"), [(0, 8), (1, 8), (100, 8), (100, 10**9), (5, 0)])
def test_spans_cover_every_id_once_within_both_limits(n, bytes_per_id):
    ids = [i for span in spans(n, bytes_per_id, block=30) for i in range(span.start, span.stop)]
    assert ids == list(range(n))
    for span in spans(n, bytes_per_id, block=30):
        assert 1 <= span.stop - span.start <= 30
        assert span.stop - span.start == 1 or (span.stop - span.start) * bytes_per_id <= blocks.BLOCK_BYTES
