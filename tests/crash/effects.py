"""Names every effect of a process on the world outside, writes each down, and kills the process at one of them.

Nothing in syncd knows of this: what it calls to have an effect (connections to OSS, the SDK's client, `os` where the
NAS store uses it, the database drivers' commit) is wrapped from outside.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import sqlalchemy as sa
import syncd.store.nas.posix
import syncd.store.nas.store
import syncd.store.nas.tree
import syncd.store.nas.upload
from sqlalchemy.engine.default import DefaultDialect
from syncd.reconcile.context import Context
from syncd.runtime.fc.runtime import FcRuntime
from syncd.store.oss.dial import Address
from syncd.store.oss.http import HttpBody, HttpPool, PendingResponse
from syncd.store.oss.store import OssStore
from syncd.targets.versioned_tree import TreeTarget

BEFORE, AFTER, FAILED = "before", "after", "failed"
_FC: Final = ("update_", "publish_", "create_", "delete_", "invoke_", "put_")
_WRITES: Final = ("INSERT", "UPDATE", "DELETE")


class Effects:
    """`crash` is the line to die at (`<name>|before` or `|after`), `@<n>` for the n-th line, or "" for none."""

    def __init__(self, log: Path, crash: str) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._crash = crash
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._lines = 0

    def around(self, name: str, call: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """Make the call, as an effect of this name; a number is added for each time it happens."""
        full = self.begin(name)
        try:
            result = call(*arguments, **more)
        except BaseException:
            self.end(full, FAILED)
            raise
        self.end(full, AFTER)
        return result

    def begin(self, name: str) -> str:
        """It is about to happen. What `end` is to be told."""
        with self._lock:
            self._seen[name] += 1
            full = f"{name} #{self._seen[name]}"
        self.end(full, BEFORE)
        return full

    def end(self, name: str, when: str) -> None:
        """It has come so far; the process may be killed here."""
        line = f"{name}|{when}"
        os.write(self._log, f"{line}\t{threading.get_ident()}\n".encode())
        with self._lock:
            self._lines += 1
            is_here = self._crash in {line, f"@{self._lines}"}
        if is_here:
            os.kill(os.getpid(), signal.SIGKILL)


class _Wrapped:
    """An object whose chosen methods are effects."""

    def __init__(self, inner: Any, effects: Effects, name_of: Callable[[str, tuple[Any, ...]], str]) -> None:
        self._inner = inner
        self._effects = effects
        self._name_of = name_of

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._inner, attribute)

        def call(*arguments: Any, **more: Any) -> Any:
            name = self._name_of(attribute, arguments)
            return self._effects.around(name, found, *arguments, **more) if name else found(*arguments, **more)

        return call if callable(found) and self._name_of(attribute, ()) else found


def watch(context: Context, effects: Effects) -> None:
    """Have every effect of these rooms, and of any database engine of this process, pass through `effects`."""
    for place, target in context.targets.items():
        assert isinstance(target, TreeTarget)
        if isinstance(target._store, OssStore):
            _watch_wire(target._store.bucket.http, effects, place)
    for place, images in context.images.items():
        wire: Any = images._repository._wire
        wire.http = _Wrapped(wire.http, effects, _registry_name(place))
    for region, runtime in context.runtimes.items():
        assert isinstance(runtime, FcRuntime)
        runtime._call.client = _Wrapped(runtime._call.client, effects, _fc_name(region))
    for module in (syncd.store.nas.store, syncd.store.nas.tree, syncd.store.nas.upload, syncd.store.nas.posix):
        module.os = _Wrapped(os, effects, _nas_name)  # type: ignore[attr-defined]
    _watch_commits(effects)


def _watch_wire(wire: HttpPool, effects: Effects, place: str) -> None:
    send, answer = wire.send, wire.answer
    under_way: dict[int, str] = {}

    def sent(method: str, to: Address, target: str, headers: Mapping[str, str], body: bytes) -> PendingResponse:
        name = _oss_name(method, target, headers)
        full = effects.begin(f"oss {place} {name}") if name else ""
        try:
            asked = send(method, to, target, headers, body)
        except BaseException:
            if full:
                effects.end(full, FAILED)
            raise
        under_way[id(asked.line)] = full
        return asked

    def answered(asked: PendingResponse) -> HttpBody:
        full = under_way.pop(id(asked.line))
        try:
            found = answer(asked)
        except BaseException:
            if full:
                effects.end(full, FAILED)
            raise
        if full:
            effects.end(full, AFTER)
        return found

    replaced: Mapping[str, Any] = {"send": sent, "answer": answered}
    for name, function in replaced.items():
        setattr(wire, name, function)


def _oss_name(method: str, target: str, headers: Mapping[str, str]) -> str:
    """What a request does, as oss2 calls it, and to which file; "" for one that only looks."""
    path, _, query = target.partition("?")
    params = dict(parse_qsl(query, keep_blank_values=True))
    file = _end(unquote(path))
    if method == "PUT" and "partNumber" in params:
        is_copy = any(name.lower() == "x-oss-copy-source" for name in headers)
        return f"{'upload_part_copy' if is_copy else 'upload_part'} {file}:{params['partNumber']}"
    if method == "POST":
        return f"{'init_multipart_upload' if 'uploads' in params else 'complete_multipart_upload'} {file}"
    if method == "DELETE":
        return f"{'abort_multipart_upload' if 'uploadId' in params else 'delete_object'} {file}"
    return f"put_object {file}" if method == "PUT" else ""


def _registry_name(place: str) -> Callable[[str, tuple[Any, ...]], str]:
    """Of requests to a repository of images, those that change something."""

    def name(method: str, arguments: tuple[Any, ...]) -> str:
        if method not in {"fetch_once", "fetch"}:
            return ""
        asked = arguments[0].method if arguments else ""
        return "" if asked in {"GET", "HEAD"} else f"registry {place} {asked}".strip()

    return name


def _fc_name(region: str) -> Callable[[str, tuple[Any, ...]], str]:
    def name(method: str, arguments: tuple[Any, ...]) -> str:
        if not method.startswith(_FC) or not method.endswith("_with_options"):
            return ""
        alias = ""
        if method.startswith(("update_alias", "delete_alias")) and len(arguments) > 1:
            alias = str(arguments[1])
        elif method.startswith("create_alias") and len(arguments) > 1:
            alias = str(arguments[1].body.alias_name)
        elif method.startswith("invoke") and len(arguments) > 1:
            alias = str(arguments[1].qualifier)
        return f"fc {region} {method.removesuffix('_with_options')} {alias}".strip()

    return name


def _nas_name(method: str, arguments: tuple[Any, ...]) -> str:
    if method == "open":  # only what makes a file
        return (
            f"nas create {_end(str(arguments[0]))}"
            if len(arguments) > 1 and arguments[1] & os.O_CREAT
            else ""
            if arguments
            else "nas"
        )
    if method not in {"mkdir", "link", "rename", "unlink", "rmdir", "fsync", "pwrite", "write", "copy_file_range"}:
        return ""
    texts = [_end(argument) for argument in arguments if isinstance(argument, str)]
    offset = f"@{arguments[2]}" if method == "pwrite" and len(arguments) > 2 else ""
    if method == "copy_file_range" and arguments:
        offset = f"@{arguments[4]}"
    return f"nas {method}{offset} {' '.join(texts)}".strip()


def _end(name: str) -> str:
    """The end of a name, without what is random in it."""
    last = name.rstrip("/").rpartition("/")[2]
    _, dot, suffix = last.partition(".")
    return f"*{dot}{suffix}" if suffix in {"data", "key", "new"} else last + ("/" if name.endswith("/") else "")


def _watch_commits(effects: Effects) -> None:
    """A transaction that changed rows is one effect: its commit. Its name says which tables."""
    named: dict[int, set[str]] = {}
    changes: dict[int, int] = {}  # as SQLite counts them; what it counted before belongs to earlier transactions

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        words = statement.replace("(", " ").split()
        if words and words[0].upper() in _WRITES:
            tables = [w for w in words[1:] if w.upper() not in {"INTO", "FROM", "OR", "IGNORE"}]
            named.setdefault(_driver(conn.connection), set()).add(tables[0].strip('"').rpartition(".")[2])

    commit: Callable[..., Any] = DefaultDialect.do_commit
    rollback: Callable[..., Any] = DefaultDialect.do_rollback

    def counted(dialect: DefaultDialect, connection: Any) -> None:
        key, total = _driver(connection), connection.total_changes
        tables, before = named.pop(key, set()), changes.get(key, 0)
        changes[key] = total
        if tables and total != before:
            effects.around(f"sql {'+'.join(sorted(tables))}", commit, dialect, connection)
        else:
            commit(dialect, connection)

    def forgotten(dialect: DefaultDialect, connection: Any) -> None:
        named.pop(_driver(connection), None)
        changes[_driver(connection)] = connection.total_changes
        rollback(dialect, connection)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    replaced: Mapping[str, Any] = {"do_commit": counted, "do_rollback": forgotten}
    for name, function in replaced.items():
        setattr(DefaultDialect, name, function)


def _driver(connection: Any) -> int:
    """The driver's connection, by which what was written in it is found again."""
    return id(getattr(connection, "dbapi_connection", connection))
