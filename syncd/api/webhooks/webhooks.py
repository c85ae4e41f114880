"""Configured webhooks: the signature check of each, and the registry that it causes polls of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from syncd.api.webhooks import eventbridge, signatures
from syncd.api.webhooks.eventbridge import Certificates
from syncd.api.webhooks.payloads import HintSubject, hints
from syncd.api.webhooks.signatures import Clock, Scheme, SignedRequest
from syncd.config import AnyHookSettings, Config, EventBridgeHookSettings, HookSettings
from syncd.config.registries import OciRegistrySettings, OssRegistrySettings, RegistrySettings
from syncd.errors import Invalid
from syncd.secret import Secret
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
_PLACE_MAX: Final = 256  # a model's name and a version's, with room to spare

WebhookSource = Callable[[HintSubject], str | None]


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook."""

    name: str
    kind: str
    registry: str
    window_s: float
    check: Callable[[SignedRequest, Clock], None]
    place: WebhookSource
    is_shown: Callable[[SignedRequest], bool] = lambda _head: False  # whether the head alone authenticates a delivery

    def read(self, sent: SignedRequest, now_s: float) -> list[Delivery]:
        """Authenticate and parse a delivery. Blocks if a certificate has to be fetched.

        Raises:
            ProblemResponse: It is not authentic (401), or too old (400).
            Invalid: It is authentic and not a valid payload.
            Unavailable: It cannot be authenticated now.
        """
        self.check(sent, Clock(now_s, self.window_s))
        received = []
        for hint in hints(self.kind, sent):
            place = self.place(hint.about)
            if place is not None:
                ref = hint.about.ref if place else ""
                received.append(Delivery(self.name, hint.id, self.registry, hint.subject, place, ref))
        return received


def webhooks_of(config: Config, certificates: Certificates | None = None) -> dict[str, Webhook]:
    """The configured webhooks by name.

    Raises:
        Invalid: A configured certificate cannot be read.
    """
    kept = certificates or Certificates()
    return {
        name: Webhook(
            name,
            hook.kind,
            hook.registry or name,
            hook.window_s,
            _check_of(hook, kept, config.regions()),
            _place_in(config.registries.get(hook.registry or name)),
            _head_check_of(hook),
        )
        for name, hook in config.hooks.items()
    }


def _place_in(registry: RegistrySettings | None) -> WebhookSource:
    """A function from a subject to its location in a registry: "" if unknown, None if outside the registry."""
    kind = "" if registry is None else registry.kind
    prefix = registry.prefix if isinstance(registry, OciRegistrySettings | OssRegistrySettings) else ""

    def place(about: HintSubject) -> str | None:
        if not about.kind:
            return about.name[:_PLACE_MAX]
        if about.kind != kind:  # its names have no meaning in this registry
            return ""
        if not about.name.startswith(prefix):
            return None
        return about.name.removeprefix(prefix)[:_PLACE_MAX] or None

    return place


def _secrets_of(hook: AnyHookSettings) -> tuple[Secret, ...]:
    return (hook.secret,) if hook.secret_before is None else (hook.secret, hook.secret_before)


def _head_check_of(hook: AnyHookSettings) -> Callable[[SignedRequest], bool]:
    secrets = _secrets_of(hook)
    if isinstance(hook, HookSettings):
        scheme = _SCHEMES[hook.kind]
        return lambda head: signatures.is_shown(scheme, head, secrets)
    return lambda head: eventbridge.is_shown(head, secrets)


def _refuse(_sent: SignedRequest, _clock: Clock) -> None:
    raise signatures.refused()


UNKNOWN_WEBHOOK: Final = Webhook("", "", "", 0.0, _refuse, lambda _about: None)
"""Stands for every name that is not configured. It refuses as a configured one does: names cannot be guessed."""


def _check_of(
    hook: AnyHookSettings, certificates: Certificates, regions: Collection[str]
) -> Callable[[SignedRequest, Clock], None]:
    secrets = _secrets_of(hook)
    if isinstance(hook, HookSettings):
        scheme = _SCHEMES[hook.kind]
        return lambda sent, clock: signatures.require_genuine(scheme, sent, secrets, clock)
    theirs = regions if hook.region is None else (hook.region,)
    key_of = partial(certificates.key, regions=theirs) if hook.certificate is None else _pinned(hook)
    url = hook.url
    return lambda sent, clock: eventbridge.require_genuine(sent, url, secrets, key_of, clock)


def _pinned(hook: EventBridgeHookSettings) -> eventbridge.KeyOf:
    assert hook.certificate is not None
    try:
        key = eventbridge.public_key(hook.certificate.read_bytes())
    except OSError as error:
        raise Invalid(f"{hook.certificate}: the certificate cannot be read: {error.strerror}") from error
    return lambda _url: key
