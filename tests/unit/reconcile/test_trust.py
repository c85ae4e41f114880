"""A version that the trust policy refuses moves nothing; a waiver lets one release of its bytes through."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest
from syncd.errors import Invalid, NotFound
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.requests import waivers
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.trust.evaluation import evaluate_live
from syncd.reconcile.views.plans.plan import document, plan
from syncd.state.content import trust
from syncd.state.records import Release
from syncd.state.state import State
from syncd.trust.certificates import read_roots
from syncd.trust.dsse import key_id_of, read_public
from syncd.trust.policy import KeylessAuthority, Mode, Outcome, SigningAuthority, TrustPolicy, TrustRule

from tests.support.keyless import ISSUER, FakeSigstore
from tests.support.rooms import SDXL, Site, World, site
from tests.unit.formats import written
from tests.unit.registry.trees import write
from tests.unit.trust.test_model_signing import FILES, SAMPLES, SIGNER

CARD = b"---\nlicense: apache-2.0\n---\n# SDXL\n"
DATA = {"model.safetensors": written.safetensors_file(), "README.md": CARD}
CODE = {"vae.pkl": pickle.dumps(print)}
ALLOWED = ("data-only", "unknown")  # `deliver` writes noise as weights.bin


def rules(
    mode: Mode = Mode.ENFORCE, formats: Sequence[str] = ALLOWED, licences: Sequence[str] = ("apache-2.0",)
) -> TrustPolicy:
    return TrustPolicy((TrustRule(("*",), mode, formats, ("models",), licences),))


def under(world: World, state: State, policy: TrustPolicy, owner: str = "worker-1") -> Site:
    return site(world, state, owner, trust=policy)


@pytest.fixture
def here(world: World, usual_database_url: str) -> Site:
    return under(world, State(usual_database_url, now=world.now), rules())


def released(here: Site, version: str) -> Release:
    release = publish(here.requester, SDXL, version)
    here.settle()
    return here.release(release.id)


def test_what_meets_the_policy_is_released_with_its_verdict(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1", more=DATA)
    assert released(here, "v1").phase is ReleasePhase.LIVE
    with here.state.read() as conn:
        verdict = trust.newest(conn, f"{SDXL}@v1#{here.digest(SDXL, 'v1')[:12]}")
    assert verdict is not None
    assert (verdict.outcome, verdict.findings["count"], verdict.tools) == (Outcome.PASSED, 0, "syncd-formats/1")
    assert verdict.evidence["formats"] == {"safetensors": 1, "text": 2, "unknown": 1}
    assert verdict.evidence["card"] == {"license": "apache-2.0"}


def test_what_is_refused_moves_nothing_and_says_what_unblocks_it(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1", more=DATA | CODE)
    release = released(here, "v1")
    assert release.phase is ReleasePhase.STALLED
    assert release.reason.endswith(
        "sdxl@v1 is refused by policy.trust: vae.pkl: "
        "format pickle is not allowed: pickles run code when they are loaded"
    )
    assert 'allow "pickle" in `formats`' in release.hint
    assert "`syncd waive sdxl@v1 --why REASON --hours 24` lets one release of these bytes through" in release.hint
    assert not any(store.objects for store in world.stores.values())
    assert not here.placements(SDXL, "v1") or all(p.progress == {} for p in here.placements(SDXL, "v1").values())
    (event,) = [event for event in here.events() if event.kind == "trust.evaluated"]
    assert (event.detail["outcome"], event.detail["count"]) == ("refused", 1)


def test_a_waiver_lets_one_release_through_and_no_other(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1", more=DATA | CODE)
    assert released(here, "v1").phase is ReleasePhase.STALLED
    made = waivers.waive(here.requester, f"{SDXL}@v1", "read by ann", 24)
    assert made.digest.hex == here.digest(SDXL, "v1")
    first = released(here, "v1")
    assert first.phase is ReleasePhase.LIVE
    with here.state.read() as conn:
        used = trust.waiver(conn, made.digest)
    assert used is not None
    assert (used.used_by, used.who, used.why) == (first.id, "ops", "read by ann")
    assert released(here, "v1").phase is ReleasePhase.STALLED
    assert {event.kind for event in here.events()} >= {"trust.waived", "trust.waiver_used"}


def test_a_waiver_is_of_one_digest_and_ends(here: Site, world: World) -> None:
    for version in ("v1", "v2"):
        world.deliver(SDXL, version, more=DATA | CODE)
        released(here, version)
    waivers.waive(here.requester, f"{SDXL}@v1", "read by ann", 1)
    assert released(here, "v2").phase is ReleasePhase.STALLED
    world.time += timedelta(hours=1, seconds=1)
    assert released(here, "v1").phase is ReleasePhase.STALLED
    assert waivers.unwaive(here.requester, f"{SDXL}@v1")
    assert not waivers.unwaive(here.requester, f"{SDXL}@v1")


def test_a_waiver_needs_a_reason_a_time_and_a_known_digest(here: Site, world: World) -> None:
    with pytest.raises(NotFound, match="a waiver is bound to a digest"):
        waivers.waive(here.requester, f"{SDXL}@v1", "why", 1)
    world.deliver(SDXL, "v1", more=CODE)
    released(here, "v1")
    for why, hours in ((" ", 1), ("why", 0), ("why", -1), ("why", 1e9), ("why", float("nan"))):
        with pytest.raises(Invalid):
            waivers.waive(here.requester, f"{SDXL}@v1", why, hours)


def test_to_warn_is_to_release_and_to_record(here: Site, world: World) -> None:
    there = under(world, here.state, rules(Mode.WARN))
    world.deliver(SDXL, "v1", more=CODE)
    assert released(there, "v1").phase is ReleasePhase.LIVE
    (event,) = [event for event in there.events() if event.kind == "trust.evaluated"]
    assert (event.detail["outcome"], event.detail["count"]) == ("warned", 2)


def test_off_reads_nothing_and_records_nothing(here: Site, world: World) -> None:
    for number, policy in enumerate((TrustPolicy(), rules(Mode.OFF)), 1):
        there = under(world, here.state, policy)
        world.deliver(SDXL, f"v{number}", more=CODE)
        assert released(there, f"v{number}").phase is ReleasePhase.LIVE
    assert not [event for event in here.events() if event.kind.startswith("trust.")]


def test_a_plan_says_what_would_be_refused_and_records_nothing(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1", more=DATA | CODE)
    foreseen = plan(here.looker, "models", SDXL, "v1")
    assert foreseen.trust is not None
    assert foreseen.trust.outcome is Outcome.REFUSED
    (finding,) = document(foreseen)["trust"]["findings"]
    assert (finding["requirement"], finding["subject"]) == ("formats", "vae.pkl")
    assert here.events() == []
    released(here, "v1")
    waivers.waive(here.requester, f"{SDXL}@v1", "read by ann", 1)
    waived = plan(here.looker, "models", SDXL, "v1").trust
    assert waived is not None
    assert waived.outcome is Outcome.WAIVED
    off = under(world, here.state, TrustPolicy())
    assert "trust" not in document(plan(off.looker, "models", SDXL, "v1"))


def test_what_is_live_and_would_fail_now_is_reported_and_not_moved(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1", more=DATA)
    released(here, "v1")
    with here.state.read() as conn:
        (seen,) = evaluate_live(conn, rules(), here.context.topology)
        (strict,) = evaluate_live(conn, rules(formats=("data-only",)), here.context.topology)
        (other,) = evaluate_live(conn, rules(licences=("mit",)), here.context.topology)
    assert (seen.findings, seen.is_stale, list(seen.bindings)) == ((), False, ["draw-hz", "draw-sg"])
    assert [each.subject for each in strict.findings] == ["weights.bin"]
    assert [each.requirement for each in other.findings] == ["licences"]
    stricter = under(world, here.state, rules(formats=("data-only",)))
    stricter.settle()
    assert len(stricter.all_releases()) == 1


def test_a_rollback_is_not_evaluated(here: Site, world: World) -> None:
    for version in ("v1", "v2"):
        world.deliver(SDXL, version, more=DATA)
        assert released(here, version).phase is ReleasePhase.LIVE
    stricter = under(world, here.state, rules(formats=("data-only",)))
    back = rollback(stricter.requester, SDXL, "worse")
    stricter.settle()
    assert stricter.release(back.id).phase is ReleasePhase.LIVE


def _signed(here: Site, world: World) -> Site:
    signer = {key_id_of(read_public(SIGNER.encode())): SIGNER}
    policy = TrustPolicy((TrustRule(("*",), Mode.ENFORCE, signers=signer),))
    return under(world, here.state, policy)


def test_a_version_is_released_if_a_signer_has_signed_every_file(here: Site, world: World) -> None:
    there = _signed(here, world)
    place = world.root / SDXL / "v1"
    write(place, dict(FILES))
    write(place, {"SHA256SUMS": sums(FILES)})
    assert released(there, "v1").phase is ReleasePhase.LIVE
    more = {**FILES, "evil.py": b"import os"}
    write(world.root / SDXL / "v2", more)
    write(world.root / SDXL / "v2", {"SHA256SUMS": sums(more)})
    release = released(there, "v2")
    assert release.phase is ReleasePhase.STALLED
    assert "evil.py: is not signed" in release.reason
    world.deliver(SDXL, "v3")
    assert "model.sig: is missing: the version is not signed" in released(there, "v3").reason
    assert len(world.sealed("hz")) == 1


def test_a_version_is_released_if_an_identity_of_an_authority_has_signed_it(here: Site, world: World) -> None:
    files = {**FILES, "model.sig": (SAMPLES / "chain.sig").read_bytes()}
    for version in ("v1", "v2"):
        write(world.root / SDXL / version, files)
        write(world.root / SDXL / version, {"SHA256SUMS": sums(files)})
    roots = read_roots((SAMPLES / "root.pem").read_bytes())
    other, ann = (SigningAuthority(roots, (name,)) for name in ("bob@models.example", "ann@models.example"))
    refused = released(
        under(world, here.state, TrustPolicy((TrustRule(("*",), Mode.ENFORCE, authorities=[other]),))), "v1"
    )
    assert refused.phase is ReleasePhase.STALLED
    assert "model.sig: its certificate is that of 'ann@models.example', and not of an identity" in refused.reason
    there = under(world, here.state, TrustPolicy((TrustRule(("*",), Mode.ENFORCE, authorities=[ann]),)))
    assert released(there, "v2").phase is ReleasePhase.LIVE


def test_a_version_is_released_if_an_identity_has_signed_it_keyless(here: Site, world: World) -> None:
    sigstore = FakeSigstore()
    statement = base64.b64decode(json.loads(FILES["model.sig"])["dsseEnvelope"]["payload"])
    bundle = sigstore.bundle(statement, sigstore.certificate())
    root = json.dumps(sigstore.trusted_root())
    keyless = KeylessAuthority(root, hashlib.sha256(root.encode()).hexdigest(), ISSUER, ("ann@models.example",))
    there = under(world, here.state, TrustPolicy((TrustRule(("*",), Mode.ENFORCE, keyless=[keyless]),)))
    for version, files in (("v1", {**FILES, "model.sig": json.dumps(bundle).encode()}), ("v2", dict(FILES))):
        write(world.root / SDXL / version, files)
        write(world.root / SDXL / version, {"SHA256SUMS": sums(files)})
    assert released(there, "v1").phase is ReleasePhase.LIVE
    refused = released(there, "v2")
    assert refused.phase is ReleasePhase.STALLED
    assert "model.sig: it is not a keyless signature of Sigstore" in refused.reason


def sums(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items()).encode()
