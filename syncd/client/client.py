"""What a token that may publish, or operate, is needed for."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from syncd.client.reader import Reader, path_of_release
from syncd.client.types import Approval, Freeze, Hold, Release, read_as_ours


class Client(Reader):
    """A `Reader` that changes things too: `publish` needs the role of that name, the others `operate`.

    Every method raises what those of `Reader` do.
    """

    def publish(self, model: str, version: str, *, key: str | None = None) -> Release:
        """Ask for a release. With the same `key`, within two days, it is the same release; default: a new key.

        Raises:
            Held: The model is on hold.
            NotFound: No binding serves the model, or the registry has no such version.
            Conflict: The version is quarantined, or the key was used for something else.
        """
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return Release.of(self._ask("POST", "/v1/releases", {"model": model, "ref": version}, headers))

    def rollback(self, model: str, why: str = "") -> Release:
        """Go back to the version that was live before, everywhere, and hold the model there.

        Sent once: if the answer is lost, look with `releases` before you ask again.

        Raises:
            NotFound: There is nothing to go back to.
        """
        return Release.of(self._ask("POST", _of_model(model, "rollback"), {"why": why}, tries=1))

    def cancel(self, release_id: str, why: str = "") -> Release:
        """End a release before it moves any alias. What it has copied stays.

        Raises:
            NotFound: There is no such release.
            Conflict: It has ended already, or is moving aliases.
        """
        return Release.of(self._ask("POST", f"{path_of_release(release_id)}/cancel", {"why": why}))

    def approve(self, release_id: str) -> Approval:
        """Let a release flip that waits for a person. It may be said before the release is ready.

        Raises:
            NotFound: There is no such release.
            Conflict: It has ended already, or it is not known yet which bytes it is about.
        """
        return Approval.of(self._ask("POST", f"{path_of_release(release_id)}/approve"))

    def hold(self, model: str, why: str = "") -> Hold:
        """Keep automation away from a model. What is held keeps its first reason.

        Raises:
            NotFound: No binding serves the model; as for the three below.
        """
        return Hold.of(self._ask("POST", _of_model(model, "hold"), {"why": why}))

    def unhold(self, model: str) -> bool:
        """Lift a hold. Returns whether there was one."""
        return _lifted(self._ask("POST", _of_model(model, "unhold")))

    def freeze(self, model: str | None = None, why: str = "", *, hours: float = 0.0) -> Freeze:
        """Flip nothing of a model, or of any, but rollbacks; for some hours, or until it is lifted."""
        return Freeze.of(self._ask("POST", _of_model(model, "freeze"), {"why": why, "hours": hours}))

    def unfreeze(self, model: str | None = None) -> bool:
        """Lift the freeze of a model, or that of all. Returns whether there was one."""
        return _lifted(self._ask("POST", _of_model(model, "unfreeze")))


def _of_model(model: str | None, verb: str) -> str:
    place = "everything" if model is None else f"models/{quote(model, safe='/').replace('..', '%2E%2E')}"
    return f"/v1/{place}/{verb}"


def _lifted(told: Mapping[str, Any]) -> bool:
    with read_as_ours():
        return bool(told["lifted"])
