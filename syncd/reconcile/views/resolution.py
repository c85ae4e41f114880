"""Advice on a release that ended without being live."""

from __future__ import annotations

from syncd.state.records import Hold, Release


def resolution(release: Release, held: Hold | None, *, is_rebuilt: bool = False) -> str:
    """Advice on a release that ended without being live: what to fix, and how to request it again.

    A release that was started for a new base (`is_rebuilt`) is not requested again: the live version keeps its base.
    """
    lift = f"`syncd unhold {release.model}`, " if held and "unhold" not in release.hint else ""
    advice = f"fix the cause, then: {lift}syncd publish {release.model}@{release.ref}"
    if is_rebuilt:
        lift = f"; `syncd unhold {release.model}` permits other versions" if lift else ""
        advice = f"push a correct base: it is built on automatically{lift}"
    return f"{release.hint}; {advice}" if release.hint else advice
