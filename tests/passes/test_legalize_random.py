"""Random graphs in LiteRT: what comes out of all passes computes what went in."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.passes.evaluation import close, evaluated, feeds_of, lifted, litert_of, ready, uncovered
from tests.passes.test_layout_random import IMAGE, random_net


@pytest.mark.parametrize("rank", IMAGE)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(data=st.data())
def test_same_numbers_in_litert(rank: int, data: st.DataObject) -> None:
    net, outputs = random_net(data, rank)
    if not outputs:
        return
    with TemporaryDirectory() as folder:
        model = lifted(net.proto(*outputs), Path(folder))
        feeds = feeds_of(model)
        wanted = evaluated(model, feeds)
        made = ready(model)
        close(evaluated(made, feeds), wanted)
        assert uncovered(made) == []
        close(litert_of(made, feeds, Path(folder)), wanted, 2e-5)
