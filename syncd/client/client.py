"""API client for changes: calls that need the role `publish` or `operate`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from syncd.client.answers import ApprovalInfo, FreezeInfo, HoldInfo, LeaseEndInfo, LeaseInfo, LiftedInfo, ReleaseInfo
from syncd.client.reader import Reader, path_of_release
from syncd.client.types import rows


class Client(Reader):
    """A `Reader` that makes changes: `publish` needs the role of that name, the others `operate`.

    Every method also raises as those of `Reader`.
    """

    def publish(self, model: str, version: str, *, key: str | None = None) -> ReleaseInfo:
        """Request a release. The same `key` within two days gets the same release; default: a new key.

        Raises:
            Held: The model is on hold.
            NotFound: No binding serves the model, or the registry has no such version.
            Conflict: The version is quarantined, or the key was used for another request.
        """
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return ReleaseInfo.of(self._ask("POST", "/v1/releases", {"model": model, "ref": version}, headers))

    def publish_named(self, name: str, *, key: str | None = None) -> ReleaseInfo:
        """Request a release by the name of its version, which the server resolves: `sdxl-v2`, `sdxl@v2`, or `sdxl`.

        A model alone is its newest version. The answer has the model and the version.

        Raises:
            Invalid: The name fits two versions.
            Held, NotFound, Conflict: As `publish`.
        """
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return ReleaseInfo.of(self._ask("POST", "/v1/releases", {"name": name}, headers))

    def rollback(self, model: str, why: str = "", to: str = "") -> ReleaseInfo:
        """Roll back to the previous live version, or to version `to`, in every binding, and hold the model there.

        Sent once: if the answer is lost, check `releases` before you repeat it.

        Raises:
            NotFound: There is no previous version, or `to` was never live.
            Invalid: `to` is live already.
        """
        body = {"why": why} | ({"to": to} if to else {})
        return ReleaseInfo.of(self._ask("POST", _of_model(model, "rollback"), body, tries=1))

    def cancel(self, release_id: str, why: str = "") -> ReleaseInfo:
        """Cancel a release before it moves any alias. Copied files stay.

        Raises:
            NotFound: There is no such release.
            Conflict: It has ended already, or is moving aliases.
        """
        return ReleaseInfo.of(self._ask("POST", f"{path_of_release(release_id)}/cancel", {"why": why}))

    def dismiss(self, release_id: str, why: str = "") -> ReleaseInfo:
        """Take a release that stalled or was undone off `status`. Its history stays.

        Raises:
            NotFound: There is no such release.
            Conflict: It is in flight, or did not fail.
        """
        return ReleaseInfo.of(self._ask("POST", f"{path_of_release(release_id)}/dismiss", {"why": why}))

    def retry(self, release_id: str | None = None) -> list[Mapping[str, Any]]:
        """Make the waiting steps of a release, or of all in flight, due now. Each row has the release and its steps.

        Raises:
            NotFound: There is no such release.
            Conflict: It has ended already.
        """
        path = "/v1/retry" if release_id is None else f"{path_of_release(release_id)}/retry"
        return rows(self._ask("POST", path), "releases")

    def approve(self, release_id: str) -> ApprovalInfo:
        """Approve a release that waits for a person. The approval may come before the release is ready.

        Raises:
            NotFound: There is no such release.
            Conflict: It has ended already, or its digest is not known yet.
        """
        return ApprovalInfo.of(self._ask("POST", f"{path_of_release(release_id)}/approve"))

    def hold(self, model: str, why: str = "") -> HoldInfo:
        """Hold a model: no automatic release. A held model keeps its first reason.

        Raises:
            NotFound: No binding serves the model; also from the three methods below.
        """
        return HoldInfo.of(self._ask("POST", _of_model(model, "hold"), {"why": why}))

    def unhold(self, model: str) -> bool:
        """Lift a hold. Returns whether there was one."""
        return LiftedInfo.of(self._ask("POST", _of_model(model, "unhold"))).lifted

    def repair(self, model: str, version: str | None = None, target: str | None = None) -> list[Mapping[str, Any]]:
        """Request a repair of one version or of all, at one target or at each; `repairs` shows how it ends.

        Raises:
            NotFound: There is no such version, or none of it at the target.
            Conflict: A release is copying it there.
        """
        body = {key: value for key, value in (("version", version), ("target", target)) if value is not None}
        return rows(self._ask("POST", _of_model(model, "repair"), body), "repairs")

    def lease(self, name: str, model: str, version: str, *, hours: float) -> LeaseInfo:
        """Take a lease on a version, or renew it: until it ends, the version is not removed.

        Raises:
            NotFound: There is no copy of such a version.
            Conflict: It is being retired.
        """
        body: dict[str, str | float] = {"model": model, "version": version, "hours": hours}
        return LeaseInfo.of(self._ask("PUT", f"/v1/leases/{quote(name, safe='')}", body))

    def end_lease(self, name: str) -> bool:
        """End a lease. Returns whether there was one."""
        return LeaseEndInfo.of(self._ask("DELETE", f"/v1/leases/{quote(name, safe='')}")).ended

    def freeze(self, model: str | None = None, why: str = "", *, hours: float = 0.0) -> FreezeInfo:
        """Freeze a model, or all: only rollbacks flip, for some hours or until it is lifted."""
        return FreezeInfo.of(self._ask("POST", _of_model(model, "freeze"), {"why": why, "hours": hours}))

    def unfreeze(self, model: str | None = None) -> bool:
        """Lift the freeze of a model, or of all. Returns whether there was one."""
        return LiftedInfo.of(self._ask("POST", _of_model(model, "unfreeze"))).lifted


def _of_model(model: str | None, verb: str) -> str:
    place = "everything" if model is None else f"models/{quote(model, safe='/').replace('..', '%2E%2E')}"
    return f"/v1/{place}/{verb}"
