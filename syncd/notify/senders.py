"""Services that take notices: the request of each, its signature, and what its answer means.

An answer of 200 that says "refused" in its body is a refusal: DingTalk (errcode 310000), WeCom (errcode 93000) and
Feishu (code 19021) answer so. apprise 2.3.0 counts the first two as sent, so it is not used here (ADR 0040).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx

from syncd.errors import Refused, Unavailable
from syncd.notify.notice import Notice
from syncd.secret import Secret

TIMEOUT_S: Final = 10.0
_ANSWER_SHOWN: Final = 200
_THROTTLED: Final = frozenset({130101, 45009, 11232, 9499})  # too many calls: DingTalk, WeCom, Feishu twice


@dataclass(frozen=True, slots=True)
class NotifyRequest:
    """One HTTP POST."""

    url: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sender:
    """One configured receiver. `kind` is a key of `KINDS`."""

    name: str
    kind: str
    url: Secret
    secret: Secret | None = None
    clock: Callable[[], float] = time.time

    def send(self, notice: Notice) -> None:
        """Send a notice once, following no redirect: it would lose the message.

        Raises:
            Refused: The receiver does not take it, by its status or in the body of a good one.
            Unavailable: It does not answer, asks for later, or failed.
        """
        url = self.url.reveal()
        host = urlsplit(url).hostname
        request = KINDS[self.kind](notice, url, self.secret.reveal() if self.secret else "", self.clock())
        try:
            answer = httpx.post(request.url, content=request.body, headers=request.headers, timeout=TIMEOUT_S)
        except httpx.HTTPError as error:  # its text may have the address, which has a key in it
            hint = "check the address, and the network from here to it"
            raise Unavailable(f"{self.name}: {host} does not answer: {type(error).__name__}", hint=hint) from None
        self._check(answer, str(host))

    def _check(self, answer: httpx.Response, host: str) -> None:
        shown = answer.text[:_ANSWER_SHOWN]
        if (
            answer.status_code == httpx.codes.TOO_MANY_REQUESTS
            or answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        ):
            raise Unavailable(f"{self.name}: {host} answered {answer.status_code}: {shown}")
        if not answer.is_success:
            raise Refused(f"{self.name}: {host} answered {answer.status_code}: {shown}", hint="check url and secret")
        code = _code_in(answer)
        if code in _THROTTLED:
            raise Unavailable(f"{self.name}: {host} asks for fewer messages: {shown}")
        if code:
            raise Refused(f"{self.name}: {host} refused it in its answer: {shown}", hint="check url and secret")


def _code_in(answer: httpx.Response) -> int:
    """The error code in the body of a good answer; 0 if it has none."""
    try:
        found = answer.json()
    except ValueError:
        return 0
    if not isinstance(found, dict):
        return 0
    codes = (found.get(key) for key in ("errcode", "code", "StatusCode"))
    return next((code for code in codes if isinstance(code, int) and code), 0)


def _text(notice: Notice) -> str:
    return f"[{notice.severity}] {notice.text}\nRun: {notice.command}"


def _json(url: str, content: Any, content_type: str = "application/json") -> NotifyRequest:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return NotifyRequest(url, body, {"Content-Type": content_type})


def _hmac(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def _webhook(notice: Notice, url: str, secret: str, now_s: float) -> NotifyRequest:
    """A CloudEvents 1.0 document, signed as Standard Webhooks say: over id, time and body."""
    data = {"text": notice.text, "severity": notice.severity, "release": notice.release, "command": notice.command}
    event = {
        "specversion": "1.0",
        "id": notice.id,
        "source": "/syncd",
        "type": f"syncd.{notice.kind}",
        "time": notice.at.isoformat(),
        "subject": notice.subject or "syncd",
        "datacontenttype": "application/json",
        "data": data,
    }
    made = _json(url, event, "application/cloudevents+json")
    headers = {**made.headers, "Webhook-Id": notice.id, "Webhook-Timestamp": str(int(now_s))}
    if secret:
        key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
        headers["Webhook-Signature"] = f"v1,{_hmac(key, f'{notice.id}.{int(now_s)}.'.encode() + made.body)}"
    return NotifyRequest(url, made.body, headers)


def _slack(notice: Notice, url: str, _secret: str, _now_s: float) -> NotifyRequest:
    return _json(url, {"text": _text(notice)})


def _dingtalk(notice: Notice, url: str, secret: str, now_s: float) -> NotifyRequest:
    """See https://open.dingtalk.com/document/robots/customize-robot-security-settings."""
    if secret:
        at = str(int(now_s * 1000))
        signed = urlencode({"timestamp": at, "sign": _hmac(secret.encode(), f"{at}\n{secret}".encode())})
        url = f"{url}{'&' if '?' in url else '?'}{signed}"
    return _json(url, {"msgtype": "text", "text": {"content": _text(notice)}})


def _feishu(notice: Notice, url: str, secret: str, now_s: float) -> NotifyRequest:
    """See https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot: the message of its HMAC is empty."""
    content: dict[str, Any] = {"msg_type": "text", "content": {"text": _text(notice)}}
    if secret:
        at = str(int(now_s))
        content |= {"timestamp": at, "sign": _hmac(f"{at}\n{secret}".encode(), b"")}
    return _json(url, content)


def _wecom(notice: Notice, url: str, _secret: str, _now_s: float) -> NotifyRequest:
    return _json(url, {"msgtype": "text", "text": {"content": _text(notice)}})


KINDS: Final[Mapping[str, Callable[[Notice, str, str, float], NotifyRequest]]] = {
    "webhook": _webhook,
    "slack": _slack,
    "dingtalk": _dingtalk,
    "feishu": _feishu,
    "wecom": _wecom,
}
