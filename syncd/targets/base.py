"""Target interface: a place that holds whole, sealed versions, or nothing that a reader would take for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.artifact.parts import Part
from syncd.errors import SyncdError
from syncd.retry import Pace
from syncd.store.base import Buffer
from syncd.values.source import Location, Stream


class Depth(IntEnum):
    """Depth of an inspection; each includes the ones before it."""

    SEAL = 1  # is it declared complete
    SIZES = 2  # every file there, with its size
    CHECKSUMS = 3  # the store's own CRC of each file against the one recorded when it was proven
    BYTES = 4  # every byte read back and hashed


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is really there."""

    sealed: bool
    present: frozenset[FilePath]
    missing: frozenset[FilePath]
    wrong: dict[FilePath, str] = field(default_factory=dict)  # path -> got and want
    foreign_seal: str = ""  # what the seal in this place seals instead; only `examine` returns it

    @property
    def whole(self) -> bool:
        """Whether every file is there and right, as far as it was inspected."""
        return not self.missing and not self.wrong


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a target already has some bytes: a file of a version that is sealed there, and how far into it.

    The seal is not read: what is copied from there is proven by its own checksum, wherever it came from.
    """

    manifest: Manifest
    path: FilePath
    offset_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NearbyCopy:
    """Bytes of an object outside this target, in a bucket that its store can copy from."""

    location: Location
    offset_bytes: int = 0


@dataclass(frozen=True, slots=True)
class HeldRange:
    """A file of another version, which was sealed at this target: its bytes need not be sent there once more.

    Only remembered: it may be gone or changed by now.
    """

    origin: Origin
    sha256: Digest
    crc64: int | None  # of the whole
    blocks: bytes  # its parts, as `artifact.blocks` packs them; empty where it was only one


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A file that was read whole, and whose SHA-256 is the manifest's. `data` does not change."""

    entry: Entry
    data: Buffer
    crc64: int


class Journal(Protocol):
    """Half-done uploads of one version at one target, remembered in SQL. Safe from several threads."""

    def find(self, path: FilePath) -> str | None:
        """The token of the upload begun for this file, if there is one."""
        ...

    def opened(self, path: FilePath, token: str) -> None:
        """Remember an upload, before its first part is sent. Replaces an older one of the same file."""
        ...

    def closed(self, path: FilePath) -> None:
        """Forget it: completed or aborted. Repeating it is success."""
        ...

    def forget(self) -> None:
        """Forget every upload of the version here. Repeating it is success."""
        ...

    def proven(self, path: FilePath, crc64: int) -> None:
        """Remember the CRC-64 of a file whose SHA-256 has been proven, for later cheap inspections.

        It lasts once `settle` has returned. What a crash loses costs that inspection a read of the file.
        """
        ...

    def settle(self) -> None:
        """Make everything passed to `proven` outlast a crash."""
        ...

    def crc64(self, path: FilePath) -> int | None:
        """What `proven` remembered, at this target or, being a pure function of the content, at any other."""
        ...

    def learned(self, sha256: Digest, blocks: bytes, leaves: bytes = b"") -> None:
        """Remember what the parts of a content are, once its SHA-256 has been proven. Replaces an older cut of it.

        `leaves` are its leaf digests (`syncd.serving.leaves`); a large file has some.
        """
        ...

    def leaves(self) -> Mapping[FilePath, bytes]:
        """The leaf digests of the version's files, of those whose content was read, by this version or another."""
        ...

    def held(self, parts_max: int) -> Sequence[HeldRange]:
        """What could be copied at this target, newest first: files that this version has as well, and those of the
        newest versions of its model, of these only as many as have `parts_max` parts together.
        """
        ...


class Writer(Protocol):
    """One file on its way into one target. Parts may be sent and copied from several threads at once."""

    @property
    def resumes(self) -> bool:
        """Whether anything of an earlier attempt may be there. Where not, `has` need not be asked."""
        ...

    def has(self, part: Part, crc64: int) -> bool:
        """Whether this part need not be sent: an earlier attempt's bytes are there, proven by CRC."""
        ...

    def send(self, part: Part, data: Buffer, crc64: int) -> None:
        """Write one part, in place of what was sent as this part before.

        `data` of a file's only part may be kept until `finish` or `abandon`, and must not change meanwhile. Of a
        file of several parts it is not kept after the call: memory does not grow with the file.

        Raises:
            Corrupt: What arrived is not what was sent.
            Unavailable: Try this part again.
        """
        ...

    def copy(self, part: Part, origin: Origin | NearbyCopy, crc64: int) -> None:
        """Have the target itself write one part, from bytes that it has or can read. They do not pass through here.

        As with `send`, nothing is visible before `finish`, and copying or sending the part again replaces it. What
        was written is proven to have `crc64`. A file of one part can be copied too; to a store over HTTP that is
        three requests instead of one, so a file of a few KiB is better sent.

        Raises:
            Corrupt: Other bytes are there. Send this part.
            NotFound: The origin is gone. Send this part.
            Invalid: The origin is shorter than that, or no store copies so much or so little. Send this part.
            Refused: The target will not read the origin for us. Send this part.
            Unavailable: Try this part again, or send it.
        """
        ...

    def finish(self, sha256: Digest, crc64: int) -> None:
        """Make the file visible, if and only if `sha256` is the manifest's. Repeating it is success.

        Raises:
            Corrupt: The digest is another, or the store's checksum is; the upload is thrown away, and nothing
                of it is visible.
            Conflict: Other bytes are at the final name.
        """
        ...

    def abandon(self) -> None:
        """Stop without losing what has been accepted: a later writer resumes it."""
        ...


class Target(Protocol):
    """A place for whole versions. Safe to call from several threads."""

    @property
    def name(self) -> str: ...

    @property
    def pace(self) -> Pace:
        """The pace of all calls to it, shared by every thread that makes some."""
        ...

    def inspect(self, manifest: Manifest, depth: Depth, journal: Journal) -> Inspection:
        """Check what is there; believe nothing remembered. An absent version is an answer, not an error.

        Each call is retried by itself. Where it fails all the same, what it has proven by then is kept for the next
        time, as long as the store still shows the same object: its size, and the tag that other bytes would change.

        Raises:
            Unavailable: The check failed; nothing is known. `progressed` if it has proven anything that is kept.
            Conflict: Another version is sealed in this place.
        """
        ...

    def examine(self, manifest: Manifest, depth: Depth, journal: Journal) -> Inspection:
        """As `inspect`, for a repair: where the seal is another content's, it says so, and the files are inspected.

        Raises:
            Unavailable: As `inspect`.
            Conflict: The seal is that of another version whose directory has the same name.
        """
        ...

    def writer(self, manifest: Manifest, entry: Entry, parts: tuple[Part, ...], journal: Journal) -> Writer:
        """Begin a file, or go on with what `journal` remembers of it.

        Of a file that is at its final name already the writer has every part, and `finish` proves it.
        """
        ...

    @property
    def puts_at_once(self) -> int:
        """How many requests `put_all` can have under way."""
        ...

    def put_all(
        self, manifest: Manifest, files: Sequence[SmallFile], journal: Journal, at_once: int
    ) -> Iterator[SyncdError | None]:
        """Make small files visible, each whole: what is wrong with each, in their order; None where it is there.

        What fails says so in its place, and the others go on. Repeating it is success. Nothing is sent of those that
        are not asked for, but for `at_once` of them.
        """
        ...

    def remove_wrong(self, manifest: Manifest, wrong: Mapping[FilePath, str]) -> None:
        """Remove wrong files of a version that is not sealed, so that they can be written again: path -> what is wrong.

        Raises:
            Conflict: The version is sealed: its files are never removed.
            Unavailable: Some may be left.
        """
        ...

    def remove_damaged(self, manifest: Manifest, path: FilePath, depth: Depth, journal: Journal) -> bool:
        """Remove a damaged file, also of a sealed version. It is inspected again first. Whether it was removed.

        Call it only with proven bytes for the file at hand: they are to be written at once.

        Raises:
            Unavailable: It may be there still.
        """
        ...

    def remove_foreign_seal(self, manifest: Manifest) -> None:
        """Remove a seal that is not this version's. Repeating it is success, and the right seal stays.

        Raises:
            Conflict: The seal is that of another version whose directory has the same name.
            Unavailable: It may be there still.
        """
        ...

    def open(self, manifest: Manifest, entry: Entry, offset_bytes: int = 0) -> Stream:
        """The bytes of a finished file, sealed or not, from `offset_bytes` on; the caller proves them.

        Raises:
            NotFound: It is not finished here.
            Unavailable: It cannot be read now.
        """
        ...

    def seal(self, manifest: Manifest, journal: Journal) -> None:
        """Declare the version complete. The last write; readers ignore unsealed versions.

        Inspects at CHECKSUMS first. Sealing what is already sealed with the same manifest is success.

        Raises:
            NotFound: A file of the manifest is missing.
            Corrupt: A file of the manifest has another size or checksum.
            Conflict: Sealed already, with another manifest.
        """
        ...

    def withdraw(self, manifest: Manifest, journal: Journal) -> None:
        """Remove the version: the seal first, so that it is absent before it is incomplete. Repeating is success.

        Half-done uploads below it are aborted as well.
        """
        ...

    def sealed(self) -> Iterator[Manifest]:
        """Every sealed version, from its seal. Reads the list of all objects below the target's root of models.

        Raises:
            Unavailable, Refused: The target could not be read; what was given so far is true.
        """
        ...

    def notes(self, directory: str) -> Iterator[tuple[str, bytes]]:
        """The small documents below `.syncd/<directory>/`, each by its name. Those of more than 64 KiB are left out.

        Raises:
            Unavailable, Refused: The target could not be read.
        """
        ...

    def put_note(self, directory: str, name: str, data: bytes) -> None:
        """Write a small document to `.syncd/<directory>/<name>`. The same again is success; it never changes.

        Raises:
            Conflict: Another one is there.
            Unavailable, Refused: It was not written.
        """
        ...

    def delete_note(self, directory: str, name: str) -> None:
        """Remove a small document. Removing what is not there is success."""
        ...

    def check_room(self) -> None:
        """Check that it has room for a small file.

        Raises:
            Unavailable, Refused: Its file system is full, or it could not be asked.
        """
        ...
