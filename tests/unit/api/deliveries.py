"""Captured and documented deliveries of every kind of sender, as they come over the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from syncd.api.webhooks.signatures import SignedRequest
from syncd.api.webhooks.webhooks import Webhook, webhooks_of
from syncd.config import AnyHookSettings, ApiSettings, Config, EventBridgeHookSettings, HookSettings, StateSettings
from syncd.config.values import PolicySettings, TransferSettings

SAMPLES: Final = Path(__file__).parent / "samples"
SHOWN: Final = "a secret that is shown"
NOW_S: Final = 1795293600.0  # when the constructed ones were made; the captured ones are some minutes older
HOUR_S: Final = 3600.0
_NOT_SENT: Final = {"host", "content-length", "connection", "accept-encoding"}


@dataclass(frozen=True)
class Genuine:
    """A delivery, the secret it is proven with, and when it came."""

    name: str
    kind: str
    headers: Mapping[str, str]
    body: bytes
    secret: str
    now_s: float = NOW_S
    query: Mapping[str, str] = field(default_factory=dict)
    subjects: tuple[str, ...] | None = None  # its hints; None: not checked

    def __str__(self) -> str:
        return self.name

    @property
    def sent(self) -> SignedRequest:
        return SignedRequest(self.headers, self.query, self.body)


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text())["data"]


def genuine() -> list[Genuine]:
    """Every delivery of the samples."""
    return [*_captured(), *_signed(), *_shown()]


def _captured() -> Iterator[Genuine]:
    mlflow = {**sample("mlflow_webhooks")} | {f"retry {n}": r for n, r in enumerate(sample("mlflow_webhook_retry"))}
    for name, came in mlflow.items():
        headers = _lower(came["headers"])
        now_s = float(headers["x-mlflow-timestamp"]) + 5
        yield Genuine(f"mlflow {name}", "mlflow", headers, came["body"].encode(), "s3cr3t-for-test", now_s)
    oci = {**sample("oci_notifications")} | {f"retry {n}": r for n, r in enumerate(sample("oci_notification_retry"))}
    for name, came in oci.items():
        yield Genuine(f"oci {name}", "oci", _lower(came["headers"]), came["body"].encode(), "hook-token")


def _signed() -> Iterator[Genuine]:
    for kind in ("github", "standard"):
        made = sample(f"{kind}_webhook" if kind == "github" else "standard_webhooks")
        yield Genuine(kind, kind, _lower(made["headers"].items()), made["body"].encode(), made["secret"])
    made = sample("eventbridge_http_target")
    yield Genuine("eventbridge", "eventbridge", _lower(made["headers"].items()), made["body"].encode(), "tok")


def _shown() -> Iterator[Genuine]:
    authorized = {"authorization": SHOWN, "content-type": "application/json"}
    hf = sample("hf_webhook")["repo_content_update"]
    tags = ("acme/tiny-llm refs/heads/main", "acme/tiny-llm refs/tags/v2.0")
    yield Genuine("huggingface", "huggingface", {"x-webhook-secret": SHOWN}, _body(hf), SHOWN, subjects=tags)
    harbor = sample("harbor_webhook")
    pushed = ("harbor/alpine v1",)
    yield Genuine("harbor push", "harbor", authorized, _body(harbor["default_push"]), SHOWN, subjects=pushed)
    pull = harbor["cloudevents_envelope_of_pull"]
    yield Genuine("harbor pull", "harbor", authorized, _body(pull), SHOWN, subjects=())
    pushed_event = _body(pull | {"type": "harbor.artifact.pushed"})
    yield Genuine("harbor cloudevent", "harbor", authorized, pushed_event, SHOWN, subjects=pushed)
    acr = sample("acr_events")
    in_url = {"token": SHOWN}
    trigger = ("namespace/repoTest latest",)
    yield Genuine("acr", "acr", {}, _body(acr["acr_trigger_webhook"]), SHOWN, query=in_url, subjects=trigger)
    built = _body(acr["eventbridge_build_completed"])
    yield Genuine("acr enterprise", "acr", authorized, built, SHOWN)
    yield Genuine("acr as cloudevent", "cloudevents", authorized, built, SHOWN)
    hub = _body(sample("dockerhub_webhook"))
    yield Genuine("dockerhub", "dockerhub", {}, hub, SHOWN, query=in_url, subjects=("svendowideit/testhook latest",))
    oss = sample("oss_eventbridge_event")
    reported = ("oss:ObjectCreated:PostObject input/x.csv",)
    yield Genuine("oss as cloudevent", "cloudevents", authorized, _body(oss), SHOWN, subjects=reported)
    binary = authorized | {f"ce-{name}": oss[name] for name in ("specversion", "id", "source", "type", "subject")}
    yield Genuine("binary cloudevent", "cloudevents", binary, b"\x00 anything", SHOWN)


def hook(genuine: Genuine, root: Path, *before: str, window_s: float | None = None, name: str = "models") -> Webhook:
    """The configured webhook that this delivery is for; `before` is the secret that was good before."""
    environ = {"NOW": genuine.secret if not before else "another secret", "BEFORE": genuine.secret}
    if genuine.kind == "standard" and before:
        environ["NOW"] = "whsec_AAAA"
    settings: dict[str, object] = {"kind": genuine.kind, "secret": {"env": "NOW"}}
    settings |= {"secret_before": {"env": "BEFORE"}} if before else {}
    settings |= {"registry": "models"} if name != "models" else {}
    settings |= {} if window_s is None else {"window_s": window_s}
    table: type[HookSettings | EventBridgeHookSettings] = HookSettings
    if genuine.kind == "eventbridge":
        made = sample("eventbridge_http_target")
        (root / "key.pem").write_text(made["public_key_pem"])
        settings |= {"url": made["url"], "certificate": str(root / "key.pem")}
        table = EventBridgeHookSettings
    parsed = table.model_validate(settings, context=environ)
    return webhooks_of(config_of({name: parsed}))[name]


def config_of(hooks: Mapping[str, AnyHookSettings]) -> Config:
    """A configuration that has nothing but webhooks."""
    single = (StateSettings(), TransferSettings(), PolicySettings(), ApiSettings())
    return Config(Path("config.toml"), *single, {}, {}, {}, {}, {}, hooks)


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers if name.lower() not in _NOT_SENT}


def _body(document: object) -> bytes:
    return json.dumps(document).encode()
