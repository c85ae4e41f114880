"""EventBridge's signature: its key only from its own address, our URL and our token among the signed parts."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from syncd.api.responses import ProblemResponse
from syncd.api.webhooks.eventbridge import CERTIFICATES_MAX, Certificates, fetch_certificate, public_key, require_theirs
from syncd.api.webhooks.signatures import SignedRequest
from syncd.api.webhooks.webhooks import Webhook, webhooks_of
from syncd.config import EventBridgeHookSettings, NasTargetSettings
from syncd.errors import Invalid, Unavailable

from tests.unit.api.deliveries import NOW_S, config_of, sample

URL = "https://syncd.example.com/hooks/models"
REGION = "cn-hangzhou"
THEIRS = "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x509_public_certificate_test.pem"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
BODY = b'{"specversion":"1.0","id":"1","source":"acs.oss","type":"oss:ObjectCreated:PutObject"}'


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "eventbridge")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, KEY.public_key(), 1, now, now + timedelta(days=900))
    return made.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def signed(url: str = URL, token: str = "tok", end: bytes = b"", **changes: str) -> SignedRequest:
    names = ("timestamp", "version", "url", "token")
    values = {"timestamp": f"{NOW_S * 1000:.0f}", "version": "1.0", "url": THEIRS, "token": token} | changes
    headers = {f"x-eventbridge-signature-{name}": values[name] for name in names}
    headers["x-eventbridge-hash-method"] = "SHA256"
    order = ("signature-timestamp", "hash-method", "signature-version", "signature-url", "signature-token")
    lines = [f"x-eventbridge-{name}: {headers[f'x-eventbridge-{name}']}\n" for name in order]
    text = f"{url}\n{''.join(lines)}".encode() + BODY + end
    made = KEY.sign(text, padding.PKCS1v15(), hashes.SHA256())
    return SignedRequest({**headers, "x-eventbridge-signature-v2": b64encode(made).decode()}, {}, BODY)


def hook(fetched: list[str], *, secret: str = "tok", answer: bytes | None = None) -> Webhook:
    def fetch(url: str) -> bytes:
        fetched.append(url)
        return certificate() if answer is None else answer

    table = {"kind": "eventbridge", "url": URL, "secret": {"env": "S"}, "secret_before": {"env": "B"}, "region": REGION}
    settings = EventBridgeHookSettings.model_validate(table, context={"S": secret, "B": "before"})
    return webhooks_of(config_of({"models": settings}), Certificates(fetch))["models"]


def status(at: Webhook, sent: SignedRequest) -> int:
    with pytest.raises(ProblemResponse) as refused:
        at.read(sent, NOW_S)
    return refused.value.status


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_one_signed_for_our_url_and_token_is_accepted_and_its_certificate_fetched_once(end: bytes) -> None:
    fetched: list[str] = []
    at = hook(fetched)
    for token in ("tok", "before"):
        (reported,) = at.read(signed(token=token, end=end), NOW_S)
        assert reported.subject == "oss:ObjectCreated:PutObject"
    assert fetched == [THEIRS]


def test_a_delivery_that_was_signed_for_another_target_is_refused() -> None:
    at = hook([])
    assert status(at, signed(url="https://other.example.com/hooks/models")) == 401
    assert status(at, signed(token="his")) == 401
    assert status(at, signed(timestamp=f"{(NOW_S - 61) * 1000:.0f}")) == 400


def test_no_certificate_is_fetched_without_the_right_token() -> None:
    fetched: list[str] = []
    assert status(hook(fetched, secret="other"), signed()) == 401
    assert fetched == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x.pem",
        "https://evil.example.com/x.pem",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com.evil.com/x.pem",
        "https://evil.com/cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com:8443/x.pem",
        "https://user@cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x.pem",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x.pem?to=evil",
        "https://169.254.169.254/x.pem",
        "file:///etc/passwd",
        "https://[",
        "https://evil-eventbridge.oss-accelerate.aliyuncs.com/x509_public_certificate.pem",
        "https://cn-beijing-eventbridge.oss-accelerate.aliyuncs.com/x509_public_certificate.pem",
        "https://x-cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x509_public_certificate.pem",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x.pem",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/a/x509_public_certificate.pem",
        "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x509_public_certificate/a.pem",
        "https://CN-hangzhou-eventbridge.oss-accelerate.aliyuncs.com\\@evil.com/",
    ],
)
def test_a_certificate_from_elsewhere_is_not_fetched(url: str) -> None:
    fetched: list[str] = []
    sent = signed()
    elsewhere = SignedRequest({**sent.headers, "x-eventbridge-signature-url": url}, {}, sent.body)
    assert status(hook(fetched), elsewhere) == 401
    with pytest.raises(Invalid):
        require_theirs(url, [REGION, "cn-shanghai"])
    assert fetched == []


def test_a_key_that_cannot_be_fetched_now_is_no_refusal_and_one_that_is_none_is() -> None:
    def down(url: str) -> bytes:
        raise Unavailable(f"{url} is down")

    settings = EventBridgeHookSettings.model_validate(
        {"kind": "eventbridge", "url": URL, "secret": {"env": "S"}, "region": REGION}, context={"S": "tok"}
    )
    at = webhooks_of(config_of({"models": settings}), Certificates(down))["models"]
    with pytest.raises(Unavailable):
        at.read(signed(), NOW_S)
    assert status(hook([], answer=b"<html>"), signed()) == 401
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = curve.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert status(hook([], answer=pem), signed()) == 401


def test_a_few_certificates_are_kept_and_no_more() -> None:
    fetched: list[str] = []

    def fetch(url: str) -> bytes:
        fetched.append(url)
        return sample("eventbridge_http_target")["public_key_pem"].encode()  # type: ignore[no-any-return]

    kept = Certificates(fetch)
    urls = [THEIRS.replace("hangzhou", f"r{n}") for n in range(CERTIFICATES_MAX + 1)]
    for url in (*urls, urls[-1], urls[0]):
        kept.key(url, [f"cn-r{n}" for n in range(CERTIFICATES_MAX + 1)])
    assert fetched == [*urls, urls[0]]


@pytest.mark.parametrize(
    ("region", "target_regions", "is_trusted"),
    [
        (REGION, (), True),
        (REGION, ("cn-beijing",), True),
        (None, (REGION,), True),
        (None, ("cn-beijing", REGION), True),
        (None, ("cn-beijing",), False),
        (None, (), False),
        ("cn-beijing", (REGION,), False),
    ],
)
def test_the_region_is_the_webhooks_or_one_of_the_configuration(
    region: str | None, target_regions: tuple[str, ...], *, is_trusted: bool
) -> None:
    table = {"kind": "eventbridge", "url": URL, "secret": {"env": "S"}} | ({"region": region} if region else {})
    settings = EventBridgeHookSettings.model_validate(table, context={"S": "tok"})
    nas = {"kind": "nas", "path": "/mnt/nas", "server": "nas.example.com"}
    targets = {each: NasTargetSettings.model_validate({**nas, "region": each}) for each in target_regions}
    config = replace(config_of({"models": settings}), targets=targets)
    at = webhooks_of(config, Certificates(lambda _url: certificate()))["models"]
    if is_trusted:
        assert len(at.read(signed(), NOW_S)) == 1
    else:
        assert status(at, signed()) == 401


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/x.pem"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_certificate_is_read_whole_bounded_and_without_following_where_it_leads(tmp_path: Path) -> None:
    pem = certificate()
    with answering(200, pem) as url:
        assert public_key(fetch_certificate(url)) == KEY.public_key()
    with answering(302, b"", Location="http://127.0.0.1:9/") as url, pytest.raises(Unavailable, match="302"):
        fetch_certificate(url)
    with answering(200, b"x" * 100_000) as url, pytest.raises(Unavailable, match="65536"):
        fetch_certificate(url)
    with pytest.raises(Unavailable, match="ConnectError"):
        fetch_certificate("http://127.0.0.1:9/x.pem")


def test_a_missing_certificate_is_reported_at_the_start(tmp_path: Path) -> None:
    table = {"kind": "eventbridge", "url": URL, "secret": {"env": "S"}, "certificate": str(tmp_path / "no.pem")}
    settings = EventBridgeHookSettings.model_validate(table, context={"S": "tok"})
    with pytest.raises(Invalid, match=r"no\.pem"):
        webhooks_of(config_of({"models": settings}))
