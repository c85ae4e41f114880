"""Interface of a model registry: names are resolved to pins, and only pins are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry
from syncd.artifact.names import FilePath, ModelName
from syncd.values.source import Candidate, Location, Revision, SourceFile, Stream


class Registry(Protocol):
    """Read access to a registry. Safe to call from several threads."""

    def discover(self, model: ModelName | None = None) -> Sequence[Candidate]:
        """Complete versions of the selected models, model by model; a followed version comes last.

        With `model`, only that model's, the same as in a full listing, without querying the other models. A missing
        or unselected model has none.

        Several followed versions, and the others, are ordered oldest first. A version that is still being written is
        left out. A bad name is left out and logged, not fatal.

        Raises:
            Unavailable: The registry could not be read; nothing is known.
            Refused: The registry denies access.
        """
        ...

    def resolve(self, model: ModelName, ref: str) -> Revision:
        """Pin the version that `ref` names now.

        Raises:
            NotFound: No such model or ref.
            Unavailable: It exists but is not complete, or the registry could not be read.
            Invalid: The ref, or a name in the version, is not allowed.
        """
        ...

    def listing(self, model: ModelName, revision: Revision) -> Sequence[SourceFile]:
        """Every file of a pinned revision, without markers and checksum lists.

        Raises:
            Conflict: The version has changed since it was pinned.
            Invalid: The name of a selected file is refused; the message has it.
        """
        ...

    def open(
        self,
        model: ModelName,
        revision: Revision,
        path: FilePath,
        offset_bytes: int = 0,
        *,
        sha256: Digest | None = None,
        until_bytes: int | None = None,
    ) -> Stream:
        """The bytes of one file from `offset_bytes` on.

        With `until_bytes` no byte from there on is needed: a registry that can read a part of a file reads no more, and
        the stream says so (`values.source.ends_at`). Others ignore it.

        `sha256` is the file's digest where the caller has it and proves the bytes by it: then nothing but their number
        is compared here, and no ETag, which may differ from one back end of a registry to the next.

        Raises:
            NotFound: The revision has no such file, or the file is gone.
            Invalid: The file's name is refused, whether it is selected or not.
            Unavailable: It could not be read now.
        """
        ...

    def location_of(self, model: ModelName, revision: Revision, path: FilePath) -> Location | None:
        """The location from which a store of the same region could copy a file's bytes; None if there is none.

        It proves nothing and saves no reading: the SHA-256 is computed from the bytes of `open`, and a server-side
        copy must have the CRC-64 of exactly those bytes.

        Raises:
            As `listing`, and NotFound: The revision has no such file.
        """
        ...


@dataclass(frozen=True, slots=True)
class AttachedSignature:
    """A signature that a registry keeps beside a revision: its place, what was signed, and the signature as base64.

    A payload that is a Sigstore bundle has its signature inside.
    """

    place: str
    payload: bytes
    signature: str = ""
    is_bundle: bool = False


@runtime_checkable
class SignedRegistry(Protocol):
    """A registry that keeps signatures beside its revisions."""

    def attached(self, model: ModelName, revision: Revision) -> Iterator[AttachedSignature]:
        """The signatures of a pinned revision, fetched one by one as they are asked for. None of them is verified.

        Raises:
            Invalid, Corrupt: A signature cannot be read, or its bytes are not those of its digest.
            NotFound: The bytes of a signature are gone.
            Refused, Unavailable: The registry denies access, or could not be read now.
        """
        ...


@dataclass(frozen=True, slots=True)
class RevisionSource:
    """The files of a pinned revision as a `values.source.RangedSource`. Their bytes are proven by their SHA-256."""

    registry: Registry
    model: ModelName
    revision: Revision

    def __call__(self, entry: Entry, offset_bytes: int) -> Stream:
        """See `Registry.open`."""
        return self.registry.open(self.model, self.revision, entry.path, offset_bytes, sha256=entry.sha256)

    def span(self, entry: Entry, offset_bytes: int, until_bytes: int) -> Stream:
        """See `Registry.open`."""
        return self.registry.open(
            self.model, self.revision, entry.path, offset_bytes, sha256=entry.sha256, until_bytes=until_bytes
        )
