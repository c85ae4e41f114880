"""Safety settings that protect nothing: their names and patterns fit no model that is served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.config.fields import shown
from syncd.config.problems import KeyPart, Problem, did_you_mean, key_path
from syncd.config.registries import ANY_MODEL
from syncd.config.values import Config
from syncd.notify.notice import KINDS
from syncd.values.patterns import selects

_EVERY = "*"
_UNSIGNED = frozenset({"slack", "wecom"})


def safety_warnings(config: Config) -> Iterator[Problem]:
    """Patterns of approval, strategies, trust and the like that fit no served model or event; an empty file."""
    if not (config.registries or config.targets or config.runtimes or config.bindings):
        advice = "nothing is ever released: `syncd config init` writes an example to begin with"
        yield Problem("", "an empty configuration", advice)
        return
    policy = config.policy
    yield from _unfit(config, ("policy", "approval"), policy.approval, "so nobody is asked for it")
    for n, strategy in enumerate(policy.strategies):
        yield from _unfit(
            config, ("policy", "strategies", n, "models"), strategy.models, "so its releases do not follow the strategy"
        )
    for n, window in enumerate(policy.freeze_times):
        yield from _unfit(config, ("policy", "freeze_times", n, "models"), window.models, "so it is not frozen then")
    for n, rule in enumerate(policy.trust.rules if policy.trust else ()):
        yield from _unfit(config, ("policy", "trust", "rules", n, "models"), rule.models, "so the rule is never used")
    yield from _notifiers(config)
    for name, registry in sorted(config.registries.items()):
        for n, follow in enumerate(registry.follow):
            if follow.models != ANY_MODEL:
                yield from _unfit(
                    config, ("registries", name, "follow", n, "models"), follow.models, "so the rule is never used"
                )


def _notifiers(config: Config) -> Iterator[Problem]:
    """Receivers that are sent nothing about a model or an event, and secrets that sign nothing."""
    for name, notifier in sorted(config.notify.items()):
        where = ("notify", name)
        yield from _unfit(config, (*where, "models"), notifier.models, "so nothing is sent about it")
        for n, pattern in enumerate(notifier.events):
            if not any(selects(pattern, kind) for kind in KINDS):
                advice = f"no notification has such a kind, so it selects nothing{did_you_mean(pattern, KINDS)}"
                yield Problem(key_path(*where, "events", n), shown(pattern), advice)
        if notifier.secret is not None and notifier.kind in _UNSIGNED:
            advice = f"leave it out: {notifier.kind} verifies no signature"
            yield Problem(key_path(*where, "secret"), "a secret", advice)


def _unfit(config: Config, where: tuple[KeyPart, ...], patterns: Sequence[str], therefore: str) -> Iterator[Problem]:
    served = config.models()
    for n, pattern in enumerate(patterns):
        if pattern != _EVERY and not any(selects(pattern, model) for model in served):
            near = did_you_mean(pattern, served)
            yield Problem(key_path(*where, n), shown(pattern), f"no binding serves such a model, {therefore}{near}")
