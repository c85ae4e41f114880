"""Signatures: authentic deliveries are accepted; one changed byte of body, timestamp, id or secret is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.api.responses import ProblemResponse
from syncd.api.webhooks.payloads import HINTS_MAX
from syncd.api.webhooks.signatures import SignedRequest
from syncd.api.webhooks.webhooks import Webhook
from syncd.errors import Invalid, SyncdError

from tests.unit.api.deliveries import NOW_S, SHOWN, Genuine, genuine, hook

ALL = genuine()
SIGNED = [each for each in ALL if each.kind in {"mlflow", "standard", "github", "eventbridge"}]
STAMPED = [each for each in ALL if each.kind in {"mlflow", "standard", "eventbridge"}]
PROOFS = {
    "mlflow": ("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"),
    "standard": ("webhook-id", "webhook-timestamp", "webhook-signature"),
    "github": ("x-hub-signature-256",),
    "huggingface": ("x-webhook-secret",),
    "eventbridge": (
        "x-eventbridge-signature-timestamp",
        "x-eventbridge-hash-method",
        "x-eventbridge-signature-version",
        "x-eventbridge-signature-url",
        "x-eventbridge-signature-token",
        "x-eventbridge-signature-v2",
    ),
}


def refusal(at: Webhook, sent: SignedRequest, now_s: float = NOW_S) -> int:
    """The status with which a delivery is refused."""
    with pytest.raises(SyncdError) as refused:
        at.read(sent, now_s)
    return refused.value.status if isinstance(refused.value, ProblemResponse) else 400


def changed(data: bytes) -> Iterator[bytes]:
    """The same with one byte changed, left out or added; every place of short data, many of long."""
    for place in range(0, len(data), max(1, len(data) // 100)):
        yield data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        yield data[:place] + data[place + 1 :]
    yield data + b" "


@pytest.mark.parametrize("given", ALL, ids=str)
def test_a_genuine_delivery_is_accepted(given: Genuine, tmp_path: Path) -> None:
    reported = hook(given, tmp_path).read(given.sent, given.now_s)
    assert {delivery.registry for delivery in reported} <= {"models"}
    if given.subjects is not None:
        assert tuple(delivery.subject for delivery in reported) == given.subjects


@pytest.mark.parametrize("given", ALL, ids=str)
def test_it_is_accepted_by_the_secret_that_was_good_before(given: Genuine, tmp_path: Path) -> None:
    if given.kind != "eventbridge":  # the token itself is signed: see below
        hook(given, tmp_path, "rotated").read(given.sent, given.now_s)


@pytest.mark.parametrize("given", SIGNED, ids=str)
def test_a_byte_of_the_body_makes_it_anothers(given: Genuine, tmp_path: Path) -> None:
    at = hook(given, tmp_path)
    for body in changed(given.body):
        assert refusal(at, SignedRequest(given.headers, {}, body), given.now_s) == 401


@pytest.mark.parametrize("given", ALL, ids=str)
def test_a_byte_of_what_proves_it_makes_it_anothers(given: Genuine, tmp_path: Path) -> None:
    at = hook(given, tmp_path)
    for name in PROOFS.get(given.kind, ("authorization",)):
        if name not in given.headers:
            continue
        for value in changed(given.headers[name].encode()):
            if value.strip() != given.headers[name].encode() or name == "x-webhook-secret":
                headers = {**given.headers, name: value.decode("latin-1")}
                assert refusal(at, SignedRequest(headers, {}, given.body), given.now_s) == 401, (name, value)
        without = {key: value for key, value in given.headers.items() if key != name}
        assert refusal(at, SignedRequest(without, {}, given.body), given.now_s) == 401


@pytest.mark.parametrize("given", [each for each in ALL if each.query], ids=str)
def test_a_byte_of_the_token_in_the_url_makes_it_anothers(given: Genuine, tmp_path: Path) -> None:
    at = hook(given, tmp_path)
    for token in changed(SHOWN.encode()):
        assert refusal(at, SignedRequest({}, {"token": token.decode("latin-1")}, given.body)) == 401
    assert refusal(at, SignedRequest({}, {}, given.body)) == 401


def test_a_token_in_the_url_is_for_those_senders_only_that_have_no_header(tmp_path: Path) -> None:
    (given,) = [each for each in ALL if each.name == "harbor push"]
    assert refusal(hook(given, tmp_path), SignedRequest({}, {"token": SHOWN}, given.body)) == 401


@pytest.mark.parametrize("given", STAMPED, ids=str)
@pytest.mark.parametrize("ahead", [-1, 1])
def test_a_genuine_one_that_is_sent_again_much_later_or_from_the_future_is_stale(
    given: Genuine, ahead: int, tmp_path: Path
) -> None:
    at = hook(given, tmp_path, window_s=30.0)
    stamp = given.headers[next(name for name in PROOFS[given.kind] if "timestamp" in name)]
    signed_s = float(stamp) / (1000 if given.kind == "eventbridge" else 1)
    at.read(given.sent, signed_s + ahead * 29)
    assert refusal(at, given.sent, signed_s + ahead * 31) == 400


def test_a_signed_timestamp_that_is_no_number_is_refused(tmp_path: Path) -> None:
    (given,) = [each for each in ALL if each.kind == "standard"]
    key = base64.b64decode(given.secret.removeprefix("whsec_"))
    for stamp in ("soon", "1e9", "-5", "9" * 17):
        signed = f"m.{stamp}.".encode() + given.body
        signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        headers = {"webhook-id": "m", "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}
        assert refusal(hook(given, tmp_path), SignedRequest(headers, {}, given.body)) == 400


def test_a_sender_in_rotation_signs_with_both_keys_and_one_that_fits_is_enough(tmp_path: Path) -> None:
    (given,) = [each for each in ALL if each.kind == "standard"]
    right = given.headers["webhook-signature"]
    for shown in (f"v1,AAAA {right}", f"{right} v1,AAAA", f"v1a,AAAA {right}"):
        headers = {**given.headers, "webhook-signature": shown}
        assert len(hook(given, tmp_path).read(SignedRequest(headers, {}, given.body), given.now_s)) == 1
    for shown in ("v1", "garbage", "v1," + "A" * 44, right.replace("v1,", "v2,"), right.removeprefix("v1,")):
        headers = {**given.headers, "webhook-signature": shown}
        assert refusal(hook(given, tmp_path), SignedRequest(headers, {}, given.body), given.now_s) == 401


def test_a_repeated_delivery_has_the_same_ids(tmp_path: Path) -> None:
    for kind, names in (("mlflow", ("retry 0", "retry 1", "retry 2")), ("oci", ("retry 0", "retry 1", "retry 2"))):
        tries = [each for each in ALL if each.name in {f"{kind} {name}" for name in names}]
        ids = {hook(each, tmp_path).read(each.sent, each.now_s)[0].id for each in tries}
        assert (len(tries), len(ids)) == (3, 1)


def test_a_delivery_about_no_new_version_is_accepted_without_hints(tmp_path: Path) -> None:
    quiet = {"oci pull", "oci delete_digest", "oci delete_tag", "harbor pull", "mlflow model_version_alias.deleted"}
    for given in ALL:
        reported = hook(given, tmp_path).read(given.sent, given.now_s)
        assert bool(reported) == (given.name not in quiet | {"mlflow model_version_tag.deleted"}), given.name


@pytest.mark.parametrize("kind", sorted({each.kind for each in ALL} - {"mlflow", "standard", "github", "eventbridge"}))
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 99_999, b'"x"'], ids=repr)
def test_a_proven_body_that_is_no_object_is_refused(kind: str, body: bytes, tmp_path: Path) -> None:
    given = next(each for each in ALL if each.kind == kind and "ce-id" not in each.headers)
    assert refusal(hook(given, tmp_path), SignedRequest(given.headers, given.query, body)) == 400


@pytest.mark.parametrize("kind", sorted({each.kind for each in ALL} - {"mlflow", "standard", "github", "eventbridge"}))
@pytest.mark.parametrize("nothing", [None, 7, [], {}, "x", [None], [{}]], ids=repr)
def test_a_proven_body_of_another_shape_is_a_hint_or_none_and_never_a_bug(
    kind: str, nothing: object, tmp_path: Path
) -> None:
    given = next(each for each in ALL if each.kind == kind and "ce-id" not in each.headers)
    whole = json.loads(given.body)
    for key in whole:
        body = json.dumps(whole | {key: nothing}).encode()
        try:
            for delivery in hook(given, tmp_path).read(SignedRequest(given.headers, given.query, body), given.now_s):
                assert delivery.subject.isascii()
                assert 0 < len(delivery.id) <= 128
        except Invalid:
            assert kind == "cloudevents"


def test_names_from_outside_are_made_harmless(tmp_path: Path) -> None:
    (given,) = [each for each in ALL if each.name == "oci push"]
    event = {"id": "\x00\ud800 " * 99, "action": "push", "target": {"repository": "a\x00b\x1b[31m" + "c" * 999}}
    body = json.dumps({"events": [event]}).encode()
    (reported,) = hook(given, tmp_path).read(SignedRequest(given.headers, {}, body), given.now_s)
    assert reported.id.startswith("sha256:")
    assert reported.subject.startswith("a?b?[31mccc")
    assert len(reported.subject) == 200


def test_a_delivery_with_too_many_changes_is_refused(tmp_path: Path) -> None:
    (given,) = [each for each in ALL if each.name == "oci push"]
    events = [{"id": str(n), "action": "push", "target": {}} for n in range(HINTS_MAX + 1)]
    for count in (HINTS_MAX, HINTS_MAX + 1):
        sent = SignedRequest(given.headers, {}, json.dumps({"events": events[:count]}).encode())
        if count > HINTS_MAX:
            assert refusal(hook(given, tmp_path), sent) == 400
        else:
            assert len(hook(given, tmp_path).read(sent, given.now_s)) == count


def test_the_other_forms_of_a_hub_repository_are_reported_or_ignored(tmp_path: Path) -> None:
    (given,) = [each for each in ALL if each.kind == "huggingface"]
    whole = json.loads(given.body)

    def reported(**changes: object) -> list[str]:
        sent = replace(given, body=json.dumps(whole | changes).encode()).sent
        return [delivery.subject for delivery in hook(given, tmp_path).read(sent, given.now_s)]

    assert reported(repo={**whole["repo"], "type": "dataset"}) == []
    assert reported(event={"action": "create", "scope": "discussion"}) == []
    assert reported(event={"action": "update", "scope": "repo.config"}) == []
    assert reported(updatedRefs=[{"ref": "refs/pr/3", "oldSha": None, "newSha": "1"}]) == []
    assert reported(updatedRefs=[{"ref": "refs/tags/v1", "oldSha": "1", "newSha": None}]) == []
    assert reported(updatedRefs=[], event={"action": "update", "scope": "repo"}) == ["acme/tiny-llm"]
