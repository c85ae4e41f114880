"""Logging: one line per event, as text on a terminal and as JSON elsewhere; secrets are masked."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from json import dumps
from threading import Lock
from typing import Any, Final, TextIO
from urllib.parse import quote

from syncd.secret import MASK, Secret

_SECRET_KEYS: Final = ("secret", "password", "authorization", "token", "signature", "cookie")  # endings of keys
_SECRET_MIN: Final = 6  # shorter texts occur in too many ordinary words
_FOREIGN: Final = ("dbos", "apscheduler", "alembic", "sqlalchemy", "httpx", "httpcore", "oss2", "urllib3")
_DEPTH_MAX: Final = 8
_TRACE: Final = "Traceback (most recent call last):"
_HANDLER_NAME: Final = "syncd"

# Events of loops that repeat every few seconds. While one cause lasts (a locked record), their lines are identical.
_LOOPS: Final = frozenset({"pass.failed", "job.failed", "lease.not_renewed", "repair.not_recorded"})
_REPEATED_S: Final = 60.0

Event = MutableMapping[str, Any]


class RepeatedLines:
    """Drops a line of a loop that says the same as one of the last minute. The next one tells how many were dropped.

    Thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._last: dict[str, tuple[float, int]] = {}  # a line: when it was written, how many were dropped since

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        """See the class. Raises structlog's DropEvent."""
        if event.get("event") not in _LOOPS:
            return event
        import structlog  # noqa: PLC0415 -- a tenth of a second

        line = repr(sorted((key, str(value)) for key, value in event.items() if key != "at"))
        now_s = self._clock()
        with self._lock:
            self._last = {key: seen for key, seen in self._last.items() if now_s < seen[0] + 2 * _REPEATED_S}
            at_s, dropped = self._last.get(line, (float("-inf"), 0))
            if now_s < at_s + _REPEATED_S:
                self._last[line] = (at_s, dropped + 1)
                raise structlog.DropEvent
            self._last[line] = (now_s, 0)
        if dropped:
            event["repeated"] = dropped
        return event


def configure(
    *, json: bool | None = None, level: str = "INFO", stream: TextIO | None = None, secrets: Iterable[Secret] = ()
) -> None:
    """Send every log line, of syncd and of libraries, to `stream` (stderr) as JSON or as text for a person.

    `json=None` chooses text on a terminal and JSON elsewhere. `level` is for syncd; libraries log from WARNING on.
    Stack traces of libraries, such as of an engine whose database restarts, are one line unless `level` is DEBUG.
    The texts of `secrets` are also masked in finished lines, wherever a library put them. A repeated call replaces the
    configuration.
    """
    import structlog  # noqa: PLC0415 -- a tenth of a second

    stream = stream or sys.stderr
    as_json = not stream.isatty() if json is None else json
    shared = _shared()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            RepeatedLines(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *([] if level == "DEBUG" else [one_line]), *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_renderers(as_json=as_json, colors=stream.isatty()),
            _redactor(secrets),
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.set_name(_HANDLER_NAME)
    handler.setFormatter(formatter)
    _install(handler, level)


def one_line(_logger: object, _method: str, event: Event) -> Event:
    """Replace the stack trace of a library's line by the error's name and message, also where it stands in the text."""
    raised = event.pop("exc_info", None)
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        event["error"] = " ".join(f"{type(error).__name__}: {error}".split())
    text, trace, rest = str(event.get("event", "")).partition(_TRACE)
    if trace:
        last = [line.strip() for line in rest.splitlines() if line.strip() and not line.startswith(" ")]
        event["event"] = " ".join(text.split())
        event.setdefault("error", last[-1] if last else "")
    return event


def without_secrets(_logger: object, _method: str, event: Event) -> Event:
    """Mask every Secret, and every value under a key of a secret, at any depth."""
    for key in list(event):
        event[key] = MASK if _is_secret_key(key) else _masked(event[key], 0)
    return event


def _shared() -> list[Any]:
    """Processors for the events of syncd and of libraries; masking comes last."""
    import structlog  # noqa: PLC0415 -- a tenth of a second

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        without_secrets,
    ]


def _renderers(*, as_json: bool, colors: bool) -> list[Any]:
    import structlog  # noqa: PLC0415 -- a tenth of a second

    if as_json:
        return [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        ]
    # Plain: the default shows every local variable of every frame, and some of them are secrets.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="at", exception_formatter=plain)]


def _redactor(secrets: Iterable[Secret]) -> Callable[[Any, str, Any], str]:
    texts = [secret.reveal() for secret in secrets if len(secret.reveal()) >= _SECRET_MIN]
    known = sorted({form for text in texts for form in (text, quote(text, safe=""), dumps(text)[1:-1])}, key=len)
    pattern = re.compile("|".join(map(re.escape, reversed(known)))) if known else None

    def redact(_logger: Any, _method: str, line: Any) -> str:
        return pattern.sub(MASK, str(line)) if pattern else str(line)

    return redact


def _install(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == _HANDLER_NAME]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("syncd").setLevel(level)
    for name in _FOREIGN:
        library = logging.getLogger(name)
        library.handlers.clear()  # DBOS adds its own handler, which would print each line twice
        library.propagate = True
        library.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def _is_secret_key(key: object) -> bool:
    return isinstance(key, str) and key.lower().replace("-", "_").endswith(_SECRET_KEYS)


def _masked(value: Any, depth: int) -> Any:
    if isinstance(value, Secret) or depth > _DEPTH_MAX:
        return MASK
    if isinstance(value, Mapping):
        return {key: MASK if _is_secret_key(key) else _masked(item, depth + 1) for key, item in value.items()}
    if isinstance(value, tuple) and len(value) == 2 and _is_secret_key(value[0]):  # a header
        return [value[0], MASK]
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(item, depth + 1) for item in value]
    return value


class Logger:
    """A logger that imports structlog on first use, so that a module that rarely logs costs no start-up time.

    Thread-safe.
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getattr__(self, name: str) -> Any:
        import structlog  # noqa: PLC0415 -- a tenth of a second

        return getattr(structlog.get_logger(*self._names), name)
