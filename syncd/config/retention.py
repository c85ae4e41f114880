"""`[retention]`: which versions of a model are removed, and when; `[scrub]`: how often copies are proven again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from syncd.config.fields import Age, ModelPattern, Rate, Seconds, Size, Table, shown
from syncd.config.problems import Problem, key_path
from syncd.plan.retention import RetentionPolicy, RetentionRule
from syncd.values.patterns import selects

if TYPE_CHECKING:
    from collections.abc import Collection


class RetentionRuleSettings(Table):
    """The rule for some models. What is live, under way, leased or the way back of a rollback always stays."""

    models: Annotated[tuple[ModelPattern, ...], Field(strict=False, min_length=1)]
    keep: Annotated[int, Field(ge=1, le=10_000)]  # the newest versions, always
    min_age: Age = 7 * 86400.0  # since a version was recorded or released last: younger ones stay
    max_size: Size | None = None  # of the model at each target: then only the oldest go, until it fits
    keep_versions: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(strict=False)] = ()

    @property
    def rule(self) -> RetentionRule:
        """The values for the plan package."""
        return RetentionRule(self.models, self.keep, self.min_age, self.max_size or 0, self.keep_versions)


class RetentionSettings(Table):
    """Removal of versions that nothing needs. Without rules nothing is removed."""

    rules: Annotated[tuple[RetentionRuleSettings, ...], Field(strict=False)] = ()  # the first that selects a model
    grace: Age = 7 * 86400.0  # how long a version is marked before it is deleted
    every_s: Seconds = 3600.0  # how often a daemon applies the rules

    @property
    def policy(self) -> RetentionPolicy:
        """The values for the plan package."""
        return RetentionPolicy(tuple(each.rule for each in self.rules), self.grace)


class ScrubSettings(Table):
    """Proof of every sealed copy on a clock. Without a period nothing is read."""

    period: Age | None = None  # how old a proof may become
    bandwidth: Rate = 20 << 20  # bytes a second that are read on average; 0: no limit
    oss: Literal["bytes", "checksums"] = "bytes"  # read and hash objects, or compare the checksum that OSS keeps


def retention_warnings(settings: RetentionSettings, models: Collection[str]) -> Iterator[Problem]:
    """Patterns of rules that select no served model: they remove nothing."""
    for n, rule in enumerate(settings.rules):
        for index, pattern in enumerate(rule.models):
            if not any(selects(pattern, model) for model in models):
                key = key_path("retention", "rules", n, "models", index)
                yield Problem(key, shown(pattern), "no binding serves such a model, so the rule removes nothing of it")
