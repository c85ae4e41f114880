"""The seam to a store: bytes under keys, made visible whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from syncd.artifact.parts import Part
from syncd.errors import SyncdError
from syncd.retry import CallPolicy, once
from syncd.values.source import Location, Stream

Buffer = bytes | bytearray | memoryview


class PutMode(Enum):
    """What may happen to an object that is already there."""

    CREATE = "create"  # it stays, and the call fails with Conflict
    OVERWRITE = "overwrite"


@dataclass(frozen=True, slots=True)
class Stat:
    """One visible object; `crc64` where the store keeps one and tells it for free.

    `tag` becomes another one whenever other bytes are put there, and says nothing of what they are. Empty where the
    store has none, or does not tell it in a list.
    """

    key: str
    size_bytes: int
    crc64: int | None
    modified_at: datetime
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Put:
    """A small object that is to be put whole."""

    key: str
    data: Buffer


@dataclass(frozen=True, slots=True)
class Receipt:
    """The store's own word for what it holds; `crc64` is the store's figure, not an echo of ours."""

    size_bytes: int
    crc64: int


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that was begun and neither completed nor aborted."""

    key: str
    token: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Traits:
    """What differs between stores, asked instead of their class."""

    create_is_atomic: bool  # of two writers with PutMode.CREATE exactly one wins
    stat_has_crc64: bool
    needs_directory_markers: bool  # a prefix can be mounted only if the object `prefix/` exists
    part_min_bytes: int  # for all parts but the last
    part_max_bytes: int
    parts_max: int
    puts_at_once: int  # requests that one thread can have under way with `put_all`


class Upload(Protocol):
    """One object on its way, invisible until `complete`. Parts may be sent and copied from several threads at once."""

    @property
    def token(self) -> str:
        """What resumes it after a crash: `store.upload(key, parts, resume=token)`."""
        ...

    def has(self, part: Part, crc64: int) -> bool:
        """Whether an earlier attempt left exactly these bytes as this part, proven by CRC, not by trust."""
        ...

    def send(self, part: Part, data: Buffer, crc64: int) -> Receipt:
        """Write one part. Sending it again replaces it. `data` is not kept after the call.

        Raises:
            Corrupt: The store holds other bytes than `crc64` says; the part is not to be trusted.
            Unavailable: Not written, or unknown; sending again is harmless.
            NotFound: The upload is gone: completed, aborted or expired.
        """
        ...

    def copy(self, part: Part, source: str | Location, offset_bytes: int, crc64: int) -> Receipt:
        """Have the store itself write one part, from `part.size_bytes` bytes of an object that it can read.

        `source` is a key of this store, or an object in any bucket of the same region.

        No byte passes through here. As with `send`, several threads may call it, and doing it again, or sending the
        part afterwards, replaces it. The only proof of the bytes is the store's CRC of what it wrote, so a source that
        was changed or damaged is noticed here.

        Raises:
            Corrupt: The store wrote other bytes than `crc64` says; the part is not to be trusted.
            NotFound: The source is gone, or the upload is (the message says which). Send the part instead: if it
                was the upload, `send` says NotFound again.
            Invalid: The run is empty, not wholly inside the source, or larger than a part may be.
            Refused: The store will not read the source for us: no permission, archived, another region, no bucket.
            Unavailable: Not written, or unknown; copying again is harmless.
        """
        ...

    def complete(self, crc64: int) -> Stat:
        """Make the whole object visible, never over another one; `crc64` is that of the whole.

        A lost answer is settled by reading the object. Completing again what is there with this CRC is success.

        Raises:
            Conflict: Another object is at the key.
            Corrupt: The store's CRC of the whole differs, or a part is missing. Nothing became visible where
                the store can say so beforehand; otherwise the object has been deleted again.
        """
        ...

    def abort(self) -> None:
        """Throw the parts away. Repeating it, or aborting what is gone, is success."""
        ...


class Store(Protocol):
    """Eight verbs. Keys are relative, '/'-separated, without a leading slash. Safe from several threads."""

    @property
    def traits(self) -> Traits: ...

    def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
        """Write a small object whole; checked against the store's own CRC before this returns.

        Repeating a CREATE whose answer was lost is success if the same bytes are there.

        Raises:
            Conflict: CREATE, and other bytes are there.
            Corrupt: The store's CRC is not ours.
        """
        ...

    def put_all(self, puts: Iterable[Put], mode: PutMode, at_once: int) -> Iterator[Stat | SyncdError]:
        """As `put` for each, with at most `at_once` of them under way: what became of each, in their order.

        A put that fails yields its error in its place, and the others go on. A caller that stops iterating does not
        learn of those under way.
        """
        ...

    def upload(self, key: str, parts: tuple[Part, ...], resume: str | None = None) -> Upload:
        """Begin an upload, or go on with one.

        Raises:
            Conflict: An upload is to be begun and something is at the key. Nothing has been sent for nothing;
                whether it is the same bytes is for the caller to see.
            NotFound: `resume` names an upload that is gone. Look at the key: it may have been completed.
        """
        ...

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> Stream:
        """The bytes of an object. Raises NotFound.

        With `until_bytes` no byte from there on is needed: a stream that ends there says so (`values.source.ends_at`).
        """
        ...

    def stat(self, key: str) -> Stat:
        """Metadata of one object. Raises NotFound; a call that failed is Unavailable or Refused."""
        ...

    def list(self, prefix: str, each: CallPolicy = once) -> Iterator[Stat]:
        """All visible objects below `prefix` (which ends with '/' or is empty), directory markers included.

        `each` makes every single call that the list needs, one for each page.
        """
        ...

    def pending(self, prefix: str, each: CallPolicy = once) -> Iterator[PendingUpload]:
        """All uploads below `prefix` that were begun and not ended, by any writer. `each` as for `list`."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object. What is not there is success."""
        ...

    def check_room(self) -> None:
        """Check that a small file can still be written. Raises Unavailable if the file system is full.

        A bucket has room always.
        """
        ...


def put_each(store: Store, puts: Iterable[Put], mode: PutMode) -> Iterator[Stat | SyncdError]:
    """`Store.put_all` of a store that can have one under way."""
    for put in puts:
        try:
            yield store.put(put.key, put.data, mode)
        except SyncdError as error:
            yield error
