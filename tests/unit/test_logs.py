"""Logs: one line per event, as JSON or text, without any secret."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from syncd.logs import RepeatedLines, configure, without_secrets
from syncd.secret import MASK, Secret

KEY = "hunter2-key"


@pytest.fixture(autouse=True)
def _leaves_no_trace() -> Iterator[None]:
    """Logging is the process's, so each test puts it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    own = logging.getLogger("dbos").handlers[:]
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)
    library = logging.getLogger("dbos")
    library.handlers[:], library.propagate = own, True
    logging.getLogger("syncd").setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def log_of(name: str = "syncd.test") -> Any:
    return structlog.get_logger(name)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_elsewhere_than_on_a_terminal_each_event_is_one_line_of_json() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    log_of().info("part.sent", model="sdxl", bytes=5, seconds=0.5)
    (line,) = lines(stream)
    at = datetime.fromisoformat(line.pop("at"))
    assert at.utcoffset() == datetime.now(UTC).utcoffset()
    assert line == {
        "event": "part.sent",
        "level": "info",
        "logger": "syncd.test",
        "model": "sdxl",
        "bytes": 5,
        "seconds": 0.5,
    }


def test_on_a_terminal_an_event_is_text_for_a_person() -> None:
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream:
        configure(stream=stream)
        log_of().info("part.sent", model="sdxl")
        stream.flush()
        shown = os.read(controller, 10_000).decode()
    os.close(controller)
    assert "part.sent" in shown
    assert "sdxl" in shown
    assert "{" not in shown


def test_json_is_had_on_a_terminal_and_text_elsewhere_when_asked_for() -> None:
    stream = io.StringIO()
    configure(json=False, stream=stream)
    log_of().info("part.sent", model="sdxl")
    assert "model=sdxl" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()


def test_configuring_again_replaces_what_was_set() -> None:
    first, second = io.StringIO(), io.StringIO()
    log = log_of()
    configure(stream=first)
    log.info("one")
    configure(stream=second)
    configure(stream=second)
    log.info("two")
    assert [line["event"] for line in lines(first)] == ["one"]
    assert [line["event"] for line in lines(second)] == ["two"]


def test_the_level_is_ours_and_libraries_are_heard_from_warning_on() -> None:
    stream = io.StringIO()
    configure(level="DEBUG", stream=stream)
    log_of().debug("ours")
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    logging.getLogger("apscheduler.scheduler").warning("missed %s", "a run")
    logging.getLogger("unheard.of").info("chatter")
    configure(level="WARNING", stream=stream)
    log_of().info("not said")
    assert [(line["event"], line["logger"]) for line in lines(stream)] == [
        ("ours", "syncd.test"),
        ("missed a run", "apscheduler.scheduler"),
    ]


def test_a_library_with_a_handler_of_its_own_is_printed_once() -> None:
    own = io.StringIO()
    logging.getLogger("dbos").addHandler(logging.StreamHandler(own))
    logging.getLogger("dbos").propagate = False
    stream = io.StringIO()
    configure(stream=stream)
    logging.getLogger("dbos").warning("retrying", extra={"queue": "place", "token": KEY})
    assert own.getvalue() == ""
    (line,) = lines(stream)
    assert (line["event"], line["queue"], line["token"]) == ("retrying", "place", MASK)


def test_warnings_of_python_are_lines_too() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old call", stacklevel=1)
    assert "old call" in lines(stream)[0]["event"]


def test_bound_context_is_in_every_line_of_ours_and_of_libraries() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    with structlog.contextvars.bound_contextvars(release="r-1"):
        log_of().info("one")
        logging.getLogger("httpx").warning("two")
    assert [line["release"] for line in lines(stream)] == ["r-1", "r-1"]


@pytest.mark.parametrize(
    "value",
    [
        {"access_key_secret": KEY},
        {"credentials": {"main": {"access_key_secret": KEY, "access_key_id": "id"}}},
        {"headers": {"Authorization": f"OSS id:{KEY}", "x-oss-security-token": KEY}},
        {"headers": [("Authorization", KEY), ["Set-Cookie", {"cookie": KEY}]]},
        {"query": ({"Signature": KEY}, {"x-oss-signature": KEY})},
        {"secrets": [Secret(KEY), {Secret(KEY)}], "deep": {"a": {"b": (Secret(KEY),)}}},
        {"password": None, "db_password": KEY, "TOKEN": KEY},
        {"plain": Secret(KEY)},
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_are_masked_however_deep(value: dict[str, Any], as_json: bool) -> None:  # noqa: FBT001 - a parameter of a table
    stream = io.StringIO()
    configure(json=as_json, stream=stream)
    log_of().info("event", **value)
    logging.getLogger("oss2").warning("request", extra=value)
    assert KEY not in stream.getvalue()
    assert stream.getvalue().count(MASK) >= 2


def test_text_that_only_resembles_a_secret_is_shown() -> None:
    event = {"tokens": 5, "signatures_checked": 2, "access_key_id": "id", "token_count": 3, "path": "secret/file"}
    assert without_secrets(None, "info", dict(event)) == event


def test_a_value_nested_without_end_is_cut_off_and_not_followed() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert MASK in json.dumps(without_secrets(None, "info", {"it": endless}))


def test_known_secrets_are_taken_out_of_finished_lines() -> None:
    stream = io.StringIO()
    secret = Secret('p@ss/w"rd')
    configure(json=True, stream=stream, secrets=[secret, Secret("short")])
    log_of().warning(f"cannot reach https://u:{secret.reveal()}@host", url="?p=p%40ss%2Fw%22rd", short="short")
    (line,) = lines(stream)
    assert line["event"] == f"cannot reach https://u:{MASK}@host"
    assert line["url"] == f"?p={MASK}"
    assert line["short"] == "short"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_has_its_frames_and_no_local_variable(as_json: bool) -> None:  # noqa: FBT001 - a parameter of a table
    stream = io.StringIO()
    configure(json=as_json, stream=stream)

    def fail() -> None:
        access = KEY + "-in-a-local"
        raise ValueError(len(access))

    try:
        fail()
    except ValueError:
        log_of().exception("loop.failed")
    assert "ValueError" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()
    assert KEY not in stream.getvalue()


def test_what_json_has_no_form_for_is_shown_as_text() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    log_of().info("event", at_path=os.fspath, when=datetime(2026, 1, 1, tzinfo=UTC))
    assert lines(stream)[0]["when"] == "2026-01-01 00:00:00+00:00"


def test_a_loop_that_says_the_same_again_is_silent_for_a_minute_and_then_tells_how_often() -> None:
    now = [0.0]
    repeated = RepeatedLines(lambda: now[0])

    def passes(error: str) -> dict[str, object] | None:
        try:
            return dict(repeated(None, "warning", {"event": "pass.failed", "error": error, "at": str(now[0])}))
        except structlog.DropEvent:
            return None

    assert passes("locked") is not None
    for now[0] in (5.0, 10.0, 55.0):
        assert passes("locked") is None
    assert passes("disk full") is not None, "another reason is another line"
    now[0] = 61.0
    again = passes("locked")
    assert again is not None
    assert again["repeated"] == 3
    assert repeated(None, "warning", {"event": "step.failed"}) == repeated(None, "warning", {"event": "step.failed"})


def _of_a_library(level: str) -> dict[str, Any]:
    stream = io.StringIO()
    configure(stream=stream, level=level)
    raised = ValueError("awaited workflow r-1/place\nwas cancelled")
    try:
        raise raised
    except ValueError:
        logging.getLogger("dbos").exception("Exception encountered in background workflow:")
    (line,) = lines(stream)
    return line


def test_the_stack_trace_of_a_library_is_one_line_unless_debugging() -> None:
    line = _of_a_library("INFO")
    assert line["error"] == "ValueError: awaited workflow r-1/place was cancelled"
    assert "Traceback" not in json.dumps(line)
    assert "Traceback" in json.dumps(_of_a_library("DEBUG"))


def test_a_stack_trace_in_the_text_of_a_library_is_its_last_line() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    g()\nOSError: gone\n'
    logging.getLogger("dbos").warning("Exception polling schedules: %s", trace)
    (line,) = lines(stream)
    assert (line["event"], line["error"]) == ("Exception polling schedules:", "OSError: gone")
