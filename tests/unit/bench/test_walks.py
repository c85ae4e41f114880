"""The counter of walks counts files that are entered, and calls against the order of imports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

from bench.walks import ROOT, Call, Imports, Recorder
from syncd import retry
from syncd.artifact import names
from syncd.config import load


def file_of(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).relative_to(ROOT).as_posix()


NAMES: Final = file_of(names)
LOW, HIGH = NAMES, "config/load.py"


def recorded(act: Callable[[], object]) -> list[Call]:
    """The calls of a thread that does this."""
    recorder = Recorder()
    recorder.start()
    thread = threading.Thread(target=act)
    try:
        thread.start()
        thread.join()
    finally:
        recorder.stop()
    return [call for number in recorder.threads if number != threading.get_ident() for call in recorder.calls(number)]


def test_a_file_of_syncd_that_is_entered_counts_and_no_other() -> None:
    calls = recorded(lambda: names.parse_model("sdxl"))
    assert {call.file for call in calls} == {NAMES}
    assert calls[0].caller == ""
    assert calls[0].below == {"artifact"}


def test_a_call_through_a_lambda_that_is_not_syncds_keeps_its_caller() -> None:
    calls = recorded(lambda: retry.call(retry.Retry(attempts_max=1), lambda: names.parse_model("sdxl")))
    assert (file_of(retry), NAMES) in {(call.caller, call.file) for call in calls}


def test_a_call_into_a_file_that_imports_its_caller_is_a_climb_and_the_other_way_is_none() -> None:
    imports = Imports()
    assert load.__module__ == "syncd.config.load"
    assert imports.walk([Call(0, LOW, HIGH, frozenset())]).climbs == {(LOW, HIGH)}
    assert not imports.walk([Call(0, HIGH, LOW, frozenset())]).climbs


def test_a_file_that_calls_itself_does_not_climb() -> None:
    walk = Imports().walk([Call(0, NAMES, NAMES, frozenset())])
    assert (walk.files, walk.climbs) == ({NAMES}, set())
