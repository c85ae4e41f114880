"""Image names: `host[:port]/repository[:tag][@sha256:…]` as parsed values, and the tags that syncd creates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Manifest
from syncd.errors import Invalid

_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9a-f:]+\](:\d{1,5})?")
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_PART}(/{_PART})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9._-]")
_NAME_MAX: Final = 128 - 13  # of a tag, without a dash and twelve digits
_HERE: Final = ("localhost", "127.", "[::1]")


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository at a registry, with an optional tag and digest."""

    host: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port. As with other tools, only a registry on this machine is used without TLS."""
        scheme = "http" if self.host.startswith(_HERE) else "https"
        return f"{scheme}://{self.host}"

    @property
    def target(self) -> str:
        """The reference to request: the digest if there is one, else the tag."""
        return f"sha256:{self.digest}" if self.digest else self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}{f'@sha256:{self.digest}' if self.digest else ''}"


def parse_image(text: str) -> Reference:
    """Parse an image with its registry. Without a tag and a digest the tag is `latest`.

    Raises:
        Invalid: It is not an image, or has no registry.
    """
    found = _parse(text)
    return found if found.target else Reference(found.host, found.repository, "latest")


def parse_repository(text: str) -> Reference:
    """Parse a repository with its registry.

    Raises:
        Invalid: It is not a repository, or has a tag or a digest: syncd chooses those.
    """
    found = _parse(text)
    if found.target:
        raise Invalid(
            f"expected a repository, got a tag or digest: {text[:200]!r}", hint="the tag is derived from the image"
        )
    return found


def tag_of(manifest: Manifest, image: Digest) -> str:
    """The tag of an image: `<model>-<version>-<digest12>`, the digest being that of the image's own manifest.

    Any difference in an image, including its base, gives another tag, so a tag never has to be moved.
    Characters that are invalid in tags become `_`, and a long name is cut: the digest keeps tags distinct.
    """
    name = _ILLEGAL.sub("_", f"{manifest.model}-{manifest.version}")[:_NAME_MAX]
    return f"{name}-{image.short}"


def _parse(text: str) -> Reference:
    rest, at, digest = text.partition("@")
    host, slash, path = rest.partition("/")
    repository, colon, tag = path.partition(":")
    if not slash or not _HOST.fullmatch(host) or not ({".", ":"} & set(host) or host == "localhost"):
        raise Invalid(
            f"{text[:200]!r} has no registry", hint="write host/repository, for example registry.local/team/sdxl"
        )
    if not _REPOSITORY.fullmatch(repository) or len(repository) > 255:
        raise Invalid(f"{text[:200]!r}: {repository[:80]!r} is not a repository", hint="lower-case letters and digits")
    if colon and not _TAG.fullmatch(tag):
        raise Invalid(f"{text[:200]!r}: {tag[:80]!r} is not a tag")
    return Reference(host, repository, tag, Digest.parse(digest) if at else None)
