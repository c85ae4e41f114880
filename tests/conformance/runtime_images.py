"""Conformance of a runtime for a function's image. A subclass is bound to `RuntimeConformance` as well."""

from __future__ import annotations

import hashlib
from abc import abstractmethod

import pytest
from syncd.errors import Failed
from syncd.runtime.base import Runtime
from syncd.values.function import Change, Staged

from tests.conformance.runtime import DIGESTS, FUNCTION, change_to, go_on

REPOSITORY = "registry-vpc.cn-hangzhou.aliyuncs.com/team/sdxl"


def digest_of(tag: str) -> str:
    return f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}"


def reference(tag: str) -> str:
    return f"{REPOSITORY}:{tag}@{digest_of(tag)}"


class RuntimeImageConformance:
    """Images are what `reference` returns for their tags, until `move_tag` changes that."""

    @abstractmethod
    def have_image(self, tag: str) -> None:
        """Put an image into the repository, with the digest of `digest_of`."""

    @abstractmethod
    def move_tag(self, tag: str, digest: str) -> None:
        """Move a tag."""

    @abstractmethod
    def image_raw(self, version: str) -> str:
        """The image of a published version, with the digest it resolved to."""

    def stage_image(self, runtime: Runtime, tag: str, token: str = "", known: tuple[str, ...] = ()) -> Staged:
        self.have_image(tag)
        change = Change((), {"MODEL_DIGEST": DIGESTS["a"].hex}, reference(tag))
        return runtime.stage(FUNCTION, change, token or f"token-{tag}", known=known, waiting=go_on)

    def test_an_image_is_staged_with_the_digest_it_was_pushed_with(self, runtime: Runtime) -> None:
        staged = self.stage_image(runtime, "v1")
        assert not staged.reused
        assert self.image_raw(staged.function_version) == reference("v1")

    def test_staging_an_image_again_ends_with_one_version(self, runtime: Runtime) -> None:
        first = self.stage_image(runtime, "v1")
        assert self.stage_image(runtime, "v1") == Staged(first.function_version, reused=True)
        assert self.stage_image(runtime, "v1", "later") == Staged(first.function_version, reused=True)

    def test_another_image_alone_makes_another_version(self, runtime: Runtime) -> None:
        first = self.stage_image(runtime, "v1")
        second = self.stage_image(runtime, "v2")
        assert self.image_raw(second.function_version) == reference("v2")
        assert self.image_raw(first.function_version) == reference("v1"), "a published version never changes"

    def test_a_known_version_with_the_image_is_the_way_back(self, runtime: Runtime) -> None:
        first = self.stage_image(runtime, "v1")
        self.stage_image(runtime, "v2")
        again = self.stage_image(runtime, "v1", "later", known=(first.function_version,))
        assert again == Staged(first.function_version, reused=True)

    def test_a_known_version_with_another_image_is_not_used(self, runtime: Runtime) -> None:
        first = self.stage_image(runtime, "v1")
        second = self.stage_image(runtime, "v2", known=(first.function_version,))
        assert second.function_version != first.function_version

    def test_a_tag_that_means_another_image_is_refused_with_got_and_want(self, runtime: Runtime) -> None:
        self.have_image("v1")
        self.move_tag("v1", digest_of("other"))
        change = Change((), {}, reference("v1"))
        with pytest.raises(Failed, match=f"{digest_of('v1')}.*{digest_of('other')}"):
            runtime.stage(FUNCTION, change, "token", known=(), waiting=go_on)

    def test_a_change_without_an_image_keeps_the_existing_image(self, runtime: Runtime) -> None:
        self.stage_image(runtime, "v1")
        mounted = runtime.stage(FUNCTION, change_to("b"), "mounted", known=(), waiting=go_on)
        assert self.image_raw(mounted.function_version) == reference("v1")

    def test_the_image_of_latest_is_returned_if_requested(self, runtime: Runtime) -> None:
        self.stage_image(runtime, "v1")
        assert runtime.latest(FUNCTION, Change((), {}, "any")).image == reference("v1")
        assert runtime.latest(FUNCTION, Change((), {})).image == ""
