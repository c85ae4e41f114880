"""Secrets never print."""

from __future__ import annotations

import copy
import pickle

import pytest
from syncd.secret import MASK, Secret


def test_a_secret_prints_as_stars_whichever_way_it_is_printed() -> None:
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", "%s" % secret, f"{[secret]} {{secret}}"]  # noqa: UP031 - this way too
    assert all("hunter2" not in text for text in shown)
    assert f"{secret:>10}" == "  " + MASK


def test_only_reveal_gives_it_away() -> None:
    assert Secret("hunter2").reveal() == "hunter2"
    assert not hasattr(Secret("hunter2"), "__dict__")


def test_equal_secrets_are_equal_and_others_are_not() -> None:
    assert Secret("é") == Secret("é")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret("x")


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret("hunter2"))
    with pytest.raises(TypeError, match="cannot be pickled"):
        copy.copy(Secret("hunter2"))
