"""Proof of a source before anything depends on it: a file is read whole, and its SHA-256 is the manifest's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from threading import Event
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry
from syncd.errors import Cancelled, Corrupt, SyncdError, Unavailable
from syncd.transfer.settings import CopySettings
from syncd.transfer.sources.producer import SourceReader
from syncd.values.source import Source

_BUFFER_BYTES: Final = 1 << 20


def proven_source(entry: Entry, sources: Mapping[str, Source], settings: CopySettings, stop: Event) -> str:
    """The first of the sources whose bytes of this file are the manifest's. Nothing is written.

    Raises:
        Corrupt: None has them; the message has what is wrong with each.
        Unavailable: None has them, and one did not answer.
        Cancelled: `stop` was set.
    """
    faults: list[str] = []
    is_unknown = False
    for name, source in sources.items():
        try:
            got = _digest(entry, source, settings, stop)
        except Cancelled:
            raise
        except SyncdError as error:
            is_unknown = is_unknown or isinstance(error, Unavailable)
            faults.append(f"{name}: {error.message}")
            continue
        if got == entry.sha256:
            return name
        faults.append(f"{name}: sha256 is {got}, the manifest says {entry.sha256}")
    kind = Unavailable if is_unknown else Corrupt
    raise kind(f"no good copy of {entry.path}: {'; '.join(faults) or 'no other place has the version'}")


def _digest(entry: Entry, source: Source, settings: CopySettings, stop: Event) -> Digest:
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(min(_BUFFER_BYTES, max(1, entry.size_bytes))))
    left_bytes = entry.size_bytes
    with SourceReader(entry, source, settings.retry, stop.wait) as reader:
        while left_bytes:
            if stop.is_set():
                raise Cancelled(f"stopped while proving {entry.path}")
            view = buffer[: min(len(buffer), left_bytes)]
            reader.fill(view)
            hasher.update(view)
            left_bytes -= len(view)
        reader.expect_end()
    return Digest(hasher.hexdigest())
