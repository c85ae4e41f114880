"""Every parser of bytes from outside ends in a result or a refusal: its corpus, and some changes of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import changed
from tests.fuzz.seeds import CORPUS, seeds
from tests.fuzz.targets import TARGETS, run
from tests.support.lengths import LONG

FIRST = ("json", "index", "oci-manifest", "manifest-json", "seal", "sums", "tar", "tar-gzip", "tar-zstd")


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_in_the_corpus_ends_in_a_result_or_a_refusal(target: str) -> None:
    assert seeds(target)
    for data in seeds(target):
        run(target, data)


def test_the_corpus_has_no_target_that_is_not_run() -> None:
    assert {each.name for each in CORPUS.iterdir() if each.is_dir()} <= {*TARGETS}


@given(st.data())
@settings(max_examples=2000 if LONG else 60)
def test_changes_of_the_corpus_end_in_a_result_or_a_refusal(drawn: st.DataObject) -> None:
    target = drawn.draw(st.sampled_from(FIRST) | st.sampled_from([*TARGETS]))
    run(target, drawn.draw(changed(target)))
