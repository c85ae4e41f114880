"""The seam to a model registry: names in it are resolved to pins, and only pins are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath, ModelName
from syncd.values.source import Candidate, Location, Revision, SourceFile, Stream


class Registry(Protocol):
    """Four looks at a registry; none of them changes it. Safe to call from several threads."""

    def discover(self, model: ModelName | None = None) -> Sequence[Candidate]:
        """What is there and complete, of what the configuration selects, model by model; what is followed is last.

        Of one model alone, where that is given: the same as with all the others, which are not asked for then. One
        that is not there, or not selected, has nothing.

        Of several that are followed, and of the others, the oldest is first. A version that is still being written is
        not in it. A bad name is left out and logged, not fatal.

        Raises:
            Unavailable: The registry could not be read; nothing is known.
            Refused: It will not let us look.
        """
        ...

    def resolve(self, model: ModelName, ref: str) -> Revision:
        """Pin what `ref` names now.

        Raises:
            NotFound: No such model or ref.
            Unavailable: It is there but not complete, or the registry could not be read.
            Invalid: The ref, or a name in what it names, is not allowed.
        """
        ...

    def listing(self, model: ModelName, revision: Revision) -> Sequence[SourceFile]:
        """Every file of a pinned revision, markers and checksum lists left out.

        Raises:
            Conflict: What is there now is not what was pinned.
            Invalid: A name is refused; the message has it.
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
    ) -> Stream:
        """The bytes of one file from `offset_bytes` on.

        `sha256` is the file's digest where the caller has it and proves the bytes by it: then nothing but their number
        is compared here, and no ETag, which may differ from one back end of a registry to the next.

        Raises:
            NotFound: The revision has no such file, or the file is gone.
            Unavailable: It could not be read now.
        """
        ...

    def lies_in(self, model: ModelName, revision: Revision, path: FilePath) -> Location | None:
        """Where a store of the same region could copy a file's bytes from by itself; None if nowhere.

        It proves nothing, and spares no reading: the SHA-256 of every byte is made of what `open` gives, and what
        was copied has to have the CRC-64 of exactly those bytes.

        Raises:
            As `listing`, and NotFound: The revision has no such file.
        """
        ...
