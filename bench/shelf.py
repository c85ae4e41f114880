"""What the sink remembers: the names, sizes and checksums of objects and parts, and not their bytes."""

import itertools
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import reduce
from threading import Lock

from syncd.localcloud.oss.crc64 import combine

from bench.checks import Taken


class RefusedError(Exception):
    """A request that S3 and OSS would not carry out either."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Thing:
    """An object or a part."""

    taken: Taken
    meta: tuple[tuple[str, str], ...] = ()
    parts: int = 1
    modified_s: float = field(default_factory=time.time)

    @property
    def etag(self) -> str:
        """Not an MD5, and no client takes it for one: MD5 would cost the sink more than all the rest."""
        return f'"{self.taken.crc64:016X}-{self.parts}"'


@dataclass(slots=True)
class Upload:
    """A multipart upload under way."""

    bucket: str
    key: str
    meta: tuple[tuple[str, str], ...]
    parts: dict[int, Thing] = field(default_factory=dict)


class FunctionStore:
    """All buckets; they exist by being named. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._numbers = itertools.count(1)
        self.clear()

    def clear(self) -> None:
        """Forget everything, the counts too."""
        with self._lock:
            self._objects: defaultdict[str, dict[str, Thing]] = defaultdict(dict)
            self._uploads: dict[str, Upload] = {}
            self._requests: Counter[str] = Counter()
            self._body_bytes: Counter[str] = Counter()
            self._head_bytes = 0
            self._refused: list[str] = []

    def count(self, what: str, bucket: str, head_bytes: int, body_bytes: int) -> None:
        """One request, and the bytes it came with."""
        with self._lock:
            self._requests[what] += 1
            self._body_bytes[bucket] += body_bytes
            self._head_bytes += head_bytes

    def refuse(self, message: str) -> None:
        """Remember a refusal: a run with any is not a measurement."""
        with self._lock:
            self._refused.append(message)

    def counts(self) -> dict[str, object]:
        """Everything counted since `clear`, and the sum of what lies in each bucket."""
        with self._lock:
            return {
                "requests": dict(self._requests),
                "body_bytes": dict(self._body_bytes),
                "head_bytes": self._head_bytes,
                "stored": {
                    bucket: {"objects": len(things), "bytes": sum(thing.taken.size_bytes for thing in things.values())}
                    for bucket, things in self._objects.items()
                },
                "uploads_open": len(self._uploads),
                "refused": self._refused[:20],
            }

    def put(self, bucket: str, key: str, thing: Thing, *, forbid: bool) -> None:
        """Raises RefusedError: there is one already, and `forbid` says that it must stay."""
        with self._lock:
            self._guard(bucket, key, forbid=forbid)
            self._objects[bucket][key] = thing

    def get(self, bucket: str, key: str) -> Thing:
        """Raises RefusedError: there is none."""
        with self._lock:
            thing = self._objects[bucket].get(key)
        if thing is None:
            raise RefusedError(404, "NoSuchKey", "The specified key does not exist.")
        return thing

    def delete(self, bucket: str, key: str) -> None:
        with self._lock:
            self._objects[bucket].pop(key, None)

    def things(self, bucket: str, prefix: str, after: str) -> list[tuple[str, Thing]]:
        """The objects of a bucket in the order of their keys."""
        with self._lock:
            found = [(key, thing) for key, thing in self._objects[bucket].items() if key.startswith(prefix)]
        return sorted((pair for pair in found if pair[0] > after), key=lambda pair: pair[0])

    def begin(self, bucket: str, key: str, meta: tuple[tuple[str, str], ...], *, forbid: bool) -> str:
        """The id of a new upload."""
        with self._lock:
            self._guard(bucket, key, forbid=forbid)
            name = f"{next(self._numbers):032X}"
            self._uploads[name] = Upload(bucket, key, meta)
            return name

    def put_part(self, name: str, number: int, thing: Thing) -> None:
        with self._lock:
            self._upload(name).parts[number] = thing

    def parts(self, name: str) -> list[tuple[int, Thing]]:
        with self._lock:
            return sorted(self._upload(name).parts.items())

    def abort(self, name: str) -> None:
        with self._lock:
            self._upload(name)
            del self._uploads[name]

    def finish(self, name: str, wanted: list[tuple[int, str]], *, forbid: bool) -> Thing:
        """Make the object of the parts that are named, which must be there.

        Raises:
            RefusedError: One is missing or another, or the order is wrong.
        """
        with self._lock:
            upload = self._upload(name)
            if not wanted or [number for number, _ in wanted] != sorted({number for number, _ in wanted}):
                raise RefusedError(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
            chosen = [upload.parts.get(number) for number, _ in wanted]
            sound = [
                part for part, (_, etag) in zip(chosen, wanted, strict=True) if part and part.etag.strip('"') == etag
            ]
            if len(sound) != len(wanted):
                raise RefusedError(400, "InvalidPart", "A part could not be found, or its tag is another.")
            self._guard(upload.bucket, upload.key, forbid=forbid)
            crc = reduce(lambda crc, part: combine(crc, part.taken.crc64, part.taken.size_bytes), sound, 0)
            thing = Thing(Taken(sum(part.taken.size_bytes for part in sound), crc, b""), upload.meta, len(sound))
            self._objects[upload.bucket][upload.key] = thing
            del self._uploads[name]
            return thing

    def _upload(self, name: str) -> Upload:
        if name not in self._uploads:
            raise RefusedError(404, "NoSuchUpload", "The specified upload does not exist.")
        return self._uploads[name]

    def _guard(self, bucket: str, key: str, *, forbid: bool) -> None:
        if forbid and key in self._objects[bucket]:
            raise RefusedError(409, "FileAlreadyExists", "The object you specified already exists.")
