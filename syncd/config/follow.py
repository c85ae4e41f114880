"""Filters of a registry: file filters and follow rules."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from syncd.artifact.names import parse_version
from syncd.config.fields import ModelPattern, shown, wrong
from syncd.config.table import Table
from syncd.errors import Invalid
from syncd.registry.rules.file_filters import FileFilter
from syncd.registry.rules.follow_rules import FollowRule, TagRule, parse_tagged
from syncd.registry.rules.semver import parse_range

ANY_MODEL: Final = ("*", "*/*")
WAYS: Final = ("alias", "tags", "versions", "tagged")
_TAGS: Final = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._+*-]*")


def _alias(text: str) -> str:
    try:
        return parse_version(text)
    except Invalid as error:
        raise wrong(shown(text), 'expected the name of an alias such as "champion"') from error


def _tags(text: str) -> str:
    if not _TAGS.fullmatch(text):
        raise wrong(shown(text), 'expected a pattern of versions\' names such as "v*"')
    return text


def _range(text: str) -> str:
    try:
        parse_range(text)
    except Invalid as error:
        raise wrong(shown(text), 'expected bounds of semantic versions such as ">=1.2,<2"') from error
    return text


def _tagged(text: str) -> str:
    try:
        parse_tagged(text)
    except Invalid as error:
        raise wrong(shown(text), 'expected a tag and its value such as "validation_status=approved"') from error
    return text


def _file_pattern(text: str) -> str:
    parts = text.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} or "\\" in part or not part.isprintable() for part in parts):
        raise wrong(shown(text), 'expected a pattern of files such as "*.bin", "unet/*.bin" or "onnx/"')
    return text


_FilePatterns = Annotated[tuple[Annotated[str, AfterValidator(_file_pattern)], ...], Field(strict=False)]


class FollowSettings(Table):
    """Follow rule: the version of some models that a poll releases, by at most one of four ways; none: the newest.

    `model_tagged` limits the rule to models with that tag.
    """

    models: Annotated[tuple[ModelPattern, ...], Field(strict=False, min_length=1)] = ANY_MODEL
    alias: Annotated[str, AfterValidator(_alias)] | None = None
    tags: Annotated[str, AfterValidator(_tags)] | None = None
    versions: Annotated[str, AfterValidator(_range)] | None = None
    tagged: Annotated[str, AfterValidator(_tagged)] | None = None
    model_tagged: Annotated[str, AfterValidator(_tagged)] | None = None

    @property
    def rule(self) -> FollowRule:
        """The values for the registry package."""
        bounds = parse_range(self.versions) if self.versions else None
        tagged, of_model = _parsed(self.tagged), _parsed(self.model_tagged)
        return FollowRule(self.models, self.alias or "", self.tags or "", bounds, tagged, of_model)

    def named(self) -> tuple[str, ...]:
        """The ways to choose that are set."""
        return tuple(key for key in WAYS if getattr(self, key) is not None)

    def by_tag(self) -> tuple[str, ...]:
        """The set ways that need a registry with tags on versions and models."""
        return tuple(key for key in ("tagged", "model_tagged") if getattr(self, key) is not None)


def _parsed(text: str | None) -> TagRule | None:
    return None if text is None else parse_tagged(text)


class FilterTable(Table):
    """Filters of a registry. The first rule of `follow` that selects a model applies."""

    follow: Annotated[tuple[FollowSettings, ...], Field(strict=False)] = ()
    take: _FilePatterns = ()  # empty: every file
    leave: _FilePatterns = ()

    @property
    def taking(self) -> FileFilter:
        """The values for the registry package."""
        return FileFilter(self.take, self.leave)
