"""Follow rules and file filters, and published versions that keep theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import pytest
from structlog.testing import capture_logs
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Invalid, NotFound, Unavailable
from syncd.registry.listing_cache import Remote, files_of, selected_files
from syncd.registry.rules.file_filters import EVERYTHING, FileFilter
from syncd.registry.rules.filtered import FilteredRegistry
from syncd.registry.rules.follow_rules import FollowRule, TagRule, parse_tagged
from syncd.registry.rules.semver import parse_range
from syncd.registry.settings import IndexSettings, Limits
from syncd.registry.sources.index import IndexRegistry
from syncd.values.source import Candidate, Follow, SourceFile, Tags

from tests.conformance.registry import read
from tests.emulators.web import Reply, Request
from tests.unit.registry.webs import IndexWeb, http_to

SDXL = ModelName("sdxl")
ALL = ("*", "*/*")
FILES = {"a.safetensors": b"1", "a.bin": b"22", "unet/b.bin": b"333"}


@pytest.fixture
def index() -> Iterator[IndexWeb]:
    index = IndexWeb()
    with index.web:
        yield index


def of(index: IndexWeb, *rules: FollowRule, files: FileFilter | None = None) -> FilteredRegistry:
    return FilteredRegistry(IndexRegistry(IndexSettings(index.url, ALL), http_to(index.web)), rules, files)


def shown(registry: FilteredRegistry) -> list[tuple[str, Follow]]:
    return [(each.version, each.follow) for each in registry.discover()]


def test_without_a_rule_the_newest_is_followed(index: IndexWeb) -> None:
    for version in ("v2", "v1"):
        index.add("sdxl", version, FILES)
    assert shown(of(index)) == [("v2", Follow.ONCE), ("v1", Follow.ONCE)]
    assert shown(of(index, FollowRule(ALL))) == shown(of(index))


def test_an_alias_is_followed_wherever_it_goes_and_the_others_are_shown(index: IndexWeb) -> None:
    index.add("sdxl", "v1", FILES)
    index.add("sdxl", "v2", FILES, aliases=["champion"])
    index.add("sdxl", "v3", FILES)
    registry = of(index, FollowRule(ALL, alias="champion"))
    assert shown(registry) == [("v1", Follow.NOT), ("v3", Follow.NOT), ("v2", Follow.WHEN_NAMED)]
    index.models["sdxl"]["v2"]["aliases"] = []
    index.models["sdxl"]["v1"]["aliases"] = ["champion"]
    assert shown(registry)[-1] == ("v1", Follow.WHEN_NAMED)


def test_an_alias_without_a_version_is_logged_once_and_nothing_is_followed(index: IndexWeb) -> None:
    index.add("sdxl", "v1", FILES)
    registry = of(index, FollowRule(ALL, alias="champion"))
    with capture_logs() as logs:
        assert shown(registry) == [("v1", Follow.NOT)]
        registry.discover()
    assert [log["version"] for log in logs] == ["sdxl@champion"]


def test_a_tag_that_is_moved_about_is_followed_under_the_name_that_stays(index: IndexWeb) -> None:
    for version, files in (("v1", FILES), ("v2", {"a": b"4"}), ("stable", FILES)):
        index.add("sdxl", version, files)
        for row in index.models["sdxl"][version]["files"]:
            row["url"] = "one-place"
    registry = of(index, FollowRule(ALL, alias="stable"))
    assert shown(registry) == [("v2", Follow.NOT), ("stable", Follow.NOT), ("v1", Follow.WHEN_NAMED)]
    index.models["sdxl"]["v1"]["files"][0]["size"] = 5
    assert {follow for _, follow in shown(registry)} == {Follow.NOT}


def test_a_pattern_of_names_is_followed_by_age(index: IndexWeb) -> None:
    for version in ("v2", "v1", "nightly"):
        index.add("sdxl", version, FILES)
    assert shown(of(index, FollowRule(ALL, tags="v*"))) == [
        ("v2", Follow.ONCE),
        ("v1", Follow.ONCE),
        ("nightly", Follow.NOT),
    ]


def test_of_a_range_the_highest_is_followed_whenever_it_came(index: IndexWeb) -> None:
    for version in ("v1.10.0", "v2.0.0", "v1.9.3", "nightly", "v1.11.0-rc.1"):
        index.add("sdxl", version, FILES)
    found = shown(of(index, FollowRule(ALL, range=parse_range(">=1.2,<2"))))
    assert found[-2:] == [("v1.9.3", Follow.ONCE), ("v1.10.0", Follow.ONCE)]
    assert {follow for _, follow in found[:3]} == {Follow.NOT}


class Marked(IndexRegistry):
    """An index whose versions and models have tags."""

    tags: Mapping[str, Tags] = MappingProxyType({})
    model_tags: Tags = frozenset()

    def discover(self, model: ModelName | None = None, taking: FileFilter = EVERYTHING) -> Sequence[Candidate]:
        found = super().discover(model, taking)
        none: Tags = frozenset()
        return [replace(e, tags=self.tags.get(e.version, none), model_tags=self.model_tags) for e in found]


def test_tagged_versions_are_followed_by_age_and_none_of_a_model_without_its_tag(index: IndexWeb) -> None:
    for version in ("v1", "v2", "v3"):
        index.add("sdxl", version, FILES, aliases=["champion"] if version == "v3" else [])
    marked = Marked(IndexSettings(index.url, ALL), http_to(index.web))
    marked.tags = {"v1": frozenset({("stage", "approved")}), "v3": frozenset({("stage", "pending"), ("x", "approved")})}
    by_tag = FilteredRegistry(marked, [FollowRule(ALL, tagged=TagRule("stage", "approved"))])
    assert [version for version, follow in shown(by_tag) if follow is Follow.ONCE] == ["v1"]
    wanted = TagRule("team", "risk*")
    for rule in (FollowRule(ALL, model_tagged=wanted), FollowRule(ALL, alias="champion", model_tagged=wanted)):
        registry = FilteredRegistry(marked, [rule])
        marked.model_tags = frozenset()
        with capture_logs() as logs:
            assert {follow for _, follow in shown(registry)} == {Follow.NOT}
        assert logs == []
        marked.model_tags = frozenset({("team", "risk-3")})
        assert shown(registry)[-1][1] is (Follow.WHEN_NAMED if rule.alias else Follow.ONCE)


@pytest.mark.parametrize(
    ("wanted", "value", "is_on"),
    [
        ("approved", "approved", True),
        ("approved", "approved ", False),
        ("approved", "*", False),  # what others wrote is not a pattern
        ("", "", True),
        ("", "x", False),
        ("*", "", True),
        ("*", "a/b", True),
        ("a*", "abc", True),
        ("*c", "abc", True),
        ("a*a", "a", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a**c", "ac", True),
        ("*a*a*a*a*a*a*a*b", "a" * 5000, False),
    ],
)
def test_a_star_in_a_tag_stands_for_anything(wanted: str, value: str, is_on: bool) -> None:  # noqa: FBT001 -- a case
    tagged = parse_tagged(f"stage={wanted}")
    assert tagged.is_on(frozenset({("stage", value)})) is is_on
    assert not tagged.is_on(frozenset({("other", value)}))


@pytest.mark.parametrize("text", ["", "stage", "=approved", "stage=a\nb"])
def test_an_invalid_tag_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is not a tag"):
        parse_tagged(text)


def test_the_first_rule_that_is_for_a_model_counts(index: IndexWeb) -> None:
    for model in ("sdxl", "team/lora"):
        index.add(model, "v1", FILES)
        index.add(model, "x1", FILES)
    found = of(index, FollowRule(("team/*",), tags="v*"), FollowRule(ALL, tags="x*")).discover()
    followed = [(each.model, each.version) for each in found if each.follow is not Follow.NOT]
    assert followed == [("sdxl", "x1"), ("team/lora", "v1")]


def test_a_registry_that_breaks_off_while_resolving_an_alias_is_unavailable(index: IndexWeb) -> None:
    index.add("sdxl", "v1", FILES)
    registry = of(index, FollowRule(ALL, alias="champion"))
    candidates = registry._registry.discover()
    index.web.stop()
    with pytest.raises(Unavailable):
        list(registry._followed(SDXL, list(candidates)))


def test_only_selected_files_exist(index: IndexWeb) -> None:
    index.add("sdxl", "v1", FILES)
    registry = of(index, files=FileFilter(take=("*.bin",), leave=("unet/",)))
    revision = registry.resolve(SDXL, "v1")
    assert [file.path for file in registry.listing(SDXL, revision)] == ["a.bin"]
    assert read(registry, SDXL, revision, "a.bin") == b"22"
    for path in ("a.safetensors", "unet/b.bin"):
        with pytest.raises(NotFound, match="no selected file"):
            registry.open(SDXL, revision, FilePath(path))
        with pytest.raises(NotFound):
            registry.location_of(SDXL, revision, FilePath(path))


def test_a_rule_that_leaves_nothing_is_named(index: IndexWeb) -> None:
    index.add("sdxl", "v1", FILES)
    registry = of(index, files=FileFilter(take=("*.gguf",)))
    with pytest.raises(Invalid, match="none of its 3 files is selected"):
        registry.listing(SDXL, registry.resolve(SDXL, "v1"))


def test_a_pinned_version_keeps_its_file_filter(index: IndexWeb) -> None:
    index.add("sdxl", "v1", FILES)
    then = of(index, files=FileFilter(take=("*.bin",))).resolve(SDXL, "v1")
    for now in (of(index), of(index, files=FileFilter(leave=("*.bin",)))):
        assert now.resolve(SDXL, "v1") != then
        assert [file.path for file in now.listing(SDXL, then)] == ["a.bin", "unet/b.bin"]
        assert read(now, SDXL, then, "unet/b.bin") == b"333"


def test_a_name_that_is_refused_hinders_nothing_where_it_is_left_out(index: IndexWeb) -> None:
    index.add("sdxl", "v1", {"a.bin": b"1", "docs\\notes.md": b"2", "Readme.txt": b"3", "readme.txt": b"4"})
    registry = of(index, files=FileFilter(leave=("*.md", "*.txt")))
    revision = registry.resolve(SDXL, "v1")
    assert [file.path for file in registry.listing(SDXL, revision)] == ["a.bin"]
    assert read(registry, SDXL, revision, "a.bin") == b"1"
    everything = of(index)
    revision = replace(revision, pin=revision.pin.partition(" ")[0])
    with pytest.raises(Invalid, match=r"notes\.md' is refused"):
        everything.resolve(SDXL, "v1")
    with pytest.raises(Invalid, match=r"notes\.md' is refused"):
        everything.listing(SDXL, revision)
    with pytest.raises(Invalid, match=r"notes\.md' is refused"):
        everything.open(SDXL, revision, FilePath("docs\\notes.md"))


def test_a_name_that_is_there_twice_hinders_nothing_where_it_is_left_out() -> None:
    listed = [Remote(SourceFile(FilePath(path), 1, None), path) for path in ("a.bin", "notes.md", "notes.md")]
    files = [each.file for each in files_of(listed, "sdxl@v1").values()]
    assert [each.path for each in selected_files(files, "sdxl@v1", FileFilter(leave=("*.md",)))] == ["a.bin"]
    with pytest.raises(Invalid, match=r"sdxl@v1: 'notes\.md' is there twice") as refused:
        selected_files(files, "sdxl@v1")
    assert refused.value.hint.startswith("rename one of the two")


def test_a_version_of_more_than_the_limits_is_refused_by_the_name_of_the_setting(index: IndexWeb) -> None:
    index.add("sdxl", "v1", {"a.bin": b"123", "b.bin": b"4567", "c.md": b"8"})
    inner = IndexRegistry(IndexSettings(index.url), http_to(index.web))
    for limits, key in (
        (Limits(files_max=1), "files_max"),
        (Limits(version_bytes_max=6), "version_bytes_max"),
    ):
        registry = FilteredRegistry(inner, files=FileFilter(leave=("*.md",)), limits=limits)
        with pytest.raises(Invalid, match="sdxl@v1 has ") as refused:
            registry.listing(SDXL, registry.resolve(SDXL, "v1"))
        assert f"raise `transfer.{key}`" in refused.value.hint
    registry = FilteredRegistry(inner, files=FileFilter(leave=("*.md",)), limits=Limits(2, 7))
    assert len(registry.listing(SDXL, registry.resolve(SDXL, "v1"))) == 2


def _same(reply: Reply, _: Request) -> Reply:
    return reply


def test_an_index_that_was_refused_is_not_read_again_until_it_is_another(index: IndexWeb) -> None:
    index.add("sdxl", "v1", {"a.bin": b"1"})
    registry = of(index)
    bomb = b"[" + b"[]," * (1 << 20) + b"0]"
    for body in (bomb, index.document().ljust(len(bomb))):  # the second one is not looked into
        index.web.faults = [partial(_same, Reply(200, {"ETag": '"bomb"'}, body))]
        with pytest.raises(Invalid, match="would take more than 44 MiB of memory"):
            registry.discover()
    index.web.faults.clear()
    assert [each.version for each in registry.discover()] == ["v1"]
