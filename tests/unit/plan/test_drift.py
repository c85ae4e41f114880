"""Differences from the record, as text."""

from __future__ import annotations

from syncd.plan.drift import Difference, alias_differences, latest_differences
from syncd.values.function import AliasState, Change, Mount, MountKind

HERE = Mount(MountKind.OSS, "bucket", "/models/m/v2", "/mnt/m", "http://oss")
THERE = Mount(MountKind.NAS, "nas.local", "/models/m/v1", "/mnt/m")


def test_an_alias_as_recorded_has_no_difference() -> None:
    assert alias_differences("2", AliasState("2")) == ()
    assert alias_differences(None, AliasState(None)) == ()


def test_an_alias_differs_by_where_it_points_and_by_what_it_sends_elsewhere() -> None:
    assert alias_differences("2", AliasState("3", {"5": 0.25, "4": 0.1})) == (
        Difference("alias", "3", "2"),
        Difference("weights", "0.1 to 4, 0.25 to 5", "nothing"),
    )
    assert alias_differences("2", AliasState(None)) == (Difference("alias", "no alias", "2"),)
    assert alias_differences(None, AliasState("1")) == (Difference("alias", "1", "no alias"),)


def test_latest_differs_by_the_mounts_and_variables_that_are_ours() -> None:
    want = Change((HERE,), {"A": "1", "B": "2"})
    assert latest_differences(want, want) == ()
    assert latest_differences(want, Change((THERE,), {"A": "1", "B": "x"})) == (
        Difference("mount /mnt/m", "nas nas.local:/models/m/v1", "oss bucket:/models/m/v2 by http://oss"),
        Difference("variable B", "x", "2"),
    )
    assert [each.got for each in latest_differences(want, Change((), {}))] == ["nothing"] * 3


def test_latest_differs_by_the_image_where_that_is_ours() -> None:
    want = Change((), {}, "host/m:v2@sha256:2")
    assert latest_differences(want, want) == ()
    assert latest_differences(want, Change((), {}, "host/m:v1")) == (Difference("image", "host/m:v1", want.image),)
    assert latest_differences(want, Change((), {})) == (Difference("image", "nothing", want.image),)
    assert latest_differences(Change((), {}), want) == ()


def test_only_where_it_points_and_its_shares_are_of_the_alias() -> None:
    assert [Difference(what, "", "").is_of_alias for what in ("alias", "weights", "variable A")] == [True, True, False]
