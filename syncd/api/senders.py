"""The configured webhooks: who may call each, how he proves it, and which registry is looked at then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from syncd.api import eventbridge, signatures
from syncd.api.eventbridge import Certificates
from syncd.api.payloads import hints
from syncd.api.signatures import Clock, Scheme, Sent
from syncd.config import AnyHookSettings, Config, EventBridgeHookSettings, HookSettings
from syncd.errors import Invalid
from syncd.state.records import Delivery

_SCHEMES: Final[Mapping[str, Scheme]] = {
    "mlflow": Scheme.MLFLOW,
    "huggingface": Scheme.SHOWN_BY_HUGGINGFACE,
    "oci": Scheme.SHOWN,
    "harbor": Scheme.SHOWN,
    "acr": Scheme.SHOWN_IN_URL,
    "dockerhub": Scheme.SHOWN_IN_URL,
    "github": Scheme.GITHUB,
    "standard": Scheme.STANDARD,
    "cloudevents": Scheme.SHOWN,
}


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook."""

    name: str
    kind: str
    registry: str
    window_s: float
    check: Callable[[Sent, Clock], None]

    def read(self, sent: Sent, now_s: float) -> list[Delivery]:
        """What a delivery tells. Blocks where a certificate has to be fetched.

        Raises:
            Problem: It is not genuine (401), or too old (400).
            Invalid: It is genuine and makes no sense.
            Unavailable: Whether it is genuine cannot be found out now.
        """
        self.check(sent, Clock(now_s, self.window_s))
        return [Delivery(self.name, each.id, self.registry, each.subject) for each in hints(self.kind, sent)]


def hooks_of(config: Config, certificates: Certificates | None = None) -> dict[str, Hook]:
    """The configured webhooks by name.

    Raises:
        Invalid: A certificate that is named cannot be read.
    """
    kept = certificates or Certificates()
    return {
        name: Hook(name, hook.kind, hook.registry or name, hook.window_s, _check_of(hook, kept))
        for name, hook in config.hooks.items()
    }


def _check_of(hook: AnyHookSettings, certificates: Certificates) -> Callable[[Sent, Clock], None]:
    secrets = (hook.secret,) if hook.secret_before is None else (hook.secret, hook.secret_before)
    if isinstance(hook, HookSettings):
        scheme = _SCHEMES[hook.kind]
        return lambda sent, clock: signatures.require_genuine(scheme, sent, secrets, clock)
    key_of = certificates.key if hook.certificate is None else _pinned(hook)
    url = hook.url
    return lambda sent, clock: eventbridge.require_genuine(sent, url, secrets, key_of, clock)


def _pinned(hook: EventBridgeHookSettings) -> eventbridge.KeyOf:
    assert hook.certificate is not None
    try:
        key = eventbridge.public_key(hook.certificate.read_bytes())
    except OSError as error:
        raise Invalid(f"{hook.certificate}: the certificate cannot be read: {error.strerror}") from error
    return lambda _url: key
