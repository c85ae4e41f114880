"""Safety settings that protect nothing: their names and patterns fit no model that is served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.config.fields import shown
from syncd.config.problems import KeyPart, Problem, did_you_mean, key_path
from syncd.config.registries import ANY_MODEL
from syncd.config.values import Config
from syncd.values.patterns import selects

_EVERY = "*"


def safety_warnings(config: Config) -> Iterator[Problem]:
    """Patterns of approval, strategies, freeze times and follow rules that fit no served model; an empty file."""
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
    for name, registry in sorted(config.registries.items()):
        for n, follow in enumerate(registry.follow):
            if follow.models != ANY_MODEL:
                yield from _unfit(
                    config, ("registries", name, "follow", n, "models"), follow.models, "so the rule is never used"
                )


def _unfit(config: Config, where: tuple[KeyPart, ...], patterns: Sequence[str], therefore: str) -> Iterator[Problem]:
    served = config.models()
    for n, pattern in enumerate(patterns):
        if pattern != _EVERY and not any(selects(pattern, model) for model in served):
            near = did_you_mean(pattern, served)
            yield Problem(key_path(*where, n), shown(pattern), f"no binding serves such a model, {therefore}{near}")
