"""Requests to a function and the evaluation of its answers, without a runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.artifact.digest import Digest
from syncd.errors import Cancelled, Unavailable
from syncd.runtime.base import ProbeFailed, ignore_waits
from syncd.runtime.health_check import error_line, p95, run_probe
from syncd.values.function import Golden, GoldenAnswer, Latency, Probe, ProbeReport

A = Digest("a" * 64)
GOOD = {"digest": A.hex, "images": [{"seed": 7, "score": 0.25}], "nsfw": False, "load_s": 12.5}


def probed(*answers: GoldenAnswer | dict[str, object] | bytes, probe: Probe) -> ProbeReport:
    """The report on a function that gives these answers, one after another."""
    given: Iterator[GoldenAnswer | dict[str, object] | bytes] = iter(answers)

    def invoke(_body: bytes) -> GoldenAnswer:
        answer = next(given)
        if isinstance(answer, GoldenAnswer):
            return answer
        return GoldenAnswer(answer if isinstance(answer, bytes) else json.dumps(answer).encode(), 0.01)

    return run_probe("show:3", invoke, probe, ignore_waits)


def golden(path: str, want: object, tolerance: float = 0.0) -> Probe:
    return Probe(b"{}", (), 1.0, (Golden("cube", b"cube", {path: want}, tolerance),))


def refusal(*answers: GoldenAnswer | dict[str, object] | bytes, probe: Probe) -> ProbeFailed:
    with pytest.raises(ProbeFailed) as failed:
        probed(*answers, probe=probe)
    return failed.value


def test_a_report_has_the_first_answer_and_every_request() -> None:
    first = GoldenAnswer(json.dumps(GOOD).encode(), 1.5, inside_s=1.25)
    probe = Probe(b"{}", (A,), 1.0, (Golden("cube", b"cube", {"nsfw": False}),), Latency(2, 1.0), "load_s")
    report = probed(first, GOOD, GOOD, GOOD, probe=probe)
    assert (report.answer, report.seconds, report.inside_s, report.load_s) == (first.body, 1.5, 1.25, 12.5)
    assert [each.what for each in report.asked] == ["digests", "cube", "latency 1", "latency 2"]
    assert not report.wrong


def test_each_request_gets_its_own_body() -> None:
    bodies: list[bytes] = []

    def invoke(body: bytes) -> GoldenAnswer:
        bodies.append(body)
        return GoldenAnswer(b"{}", 0.0)

    probe = Probe(b"first", (), 1.0, (Golden("one", b"1"), Golden("two", b"2")), Latency(2, 1.0))
    run_probe("show:3", invoke, probe, ignore_waits)
    assert bodies == [b"first", b"1", b"2", b"first", b"first"]


def test_a_wrong_answer_is_named_with_its_request_its_path_got_and_want() -> None:
    failed = refusal(GOOD, GOOD, probe=golden("$.images[0].seed", 8))
    assert failed.message == "show:3 cube: at $.images[0].seed got 7, want 8"
    assert failed.hint
    assert failed.report.wrong == ("cube: at $.images[0].seed got 7, want 8",)
    assert [(each.what, bool(each.wrong)) for each in failed.report.asked] == [("digests", False), ("cube", True)]


def test_the_error_for_a_missing_path_says_where_it_ends() -> None:
    failed = refusal(GOOD, GOOD, probe=golden("images[1].seed", 8))
    assert "at images[1].seed got nothing ($.images is a list of 1), want 8" in failed.message


@pytest.mark.parametrize(
    ("want", "tolerance", "got"),
    [
        (7, 0.0, 7.0),
        (0.25, 1e-3, 0.2509),
        (1000.0, 1e-3, 1000.9),
        (-1000.0, 1e-3, -1000.9),
        ([1.0, [2.0]], 0.1, [1.05, [2.1]]),
        ({"a": 1.0}, 0.1, {"a": 1.05}),
        (True, 0.5, True),
        ("x", 0.0, "x"),
    ],
)
def test_an_equal_or_close_value_is_right(want: object, tolerance: float, got: object) -> None:
    assert not probed({}, {"x": got}, probe=golden("x", want, tolerance)).wrong


@pytest.mark.parametrize(
    ("want", "tolerance", "got"),
    [
        (0.25, 1e-3, 0.2511),
        (0.0, 1e-3, float("nan")),
        (1e9, 1e-3, float("inf")),
        (True, 1.0, 1),
        (1, 1.0, True),
        (1, 0.0, "1"),
        ("true", 0.0, True),
        ([1.0, 2.0], 0.1, [1.0]),
        ([1.0], 0.1, 1.0),
        ({"a": 1}, 0.1, {"a": 1, "b": 2}),
        ({"a": 1}, 0.1, [["a", 1]]),
        (0, 0.0, None),
    ],
)
def test_a_different_value_is_wrong(want: object, tolerance: float, got: object) -> None:
    assert "at x got " in refusal({}, {"x": got}, probe=golden("x", want, tolerance)).message


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_any_json_equals_itself_and_nothing_with_one_more_around_it(value: object) -> None:
    assert not probed({}, {"x": value}, probe=golden("x", value)).wrong
    assert refusal({}, {"x": [value]}, probe=golden("x", value)).report.wrong


def test_a_tolerance_is_shown_where_it_counts() -> None:
    assert "got 0.3, want 0.25 ± 0.001" in refusal({}, {"x": 0.3}, probe=golden("x", 0.25, 1e-3)).message
    assert "±" not in refusal({}, {"x": "a"}, probe=golden("x", "b", 1e-3)).message


def test_long_values_are_cut() -> None:
    failed = refusal({}, {"x": "y" * 10_000}, probe=golden("x", ["z"] * 10_000))
    assert len(failed.message) < 300
    assert "…" in failed.message


def test_of_many_wrong_answers_the_message_has_the_first_few_and_the_report_all() -> None:
    wanted = {f"k{number}": number for number in range(9)}
    probe = Probe(b"{}", (), 1.0, tuple(Golden(f"g{number}", b"", wanted) for number in range(9)))
    failed = refusal(*[{}] * 10, probe=probe)
    assert len(failed.report.wrong) == 9
    assert failed.message.endswith("; and 5 more")


def test_an_answer_that_is_not_json_has_no_paths() -> None:
    failed = refusal({}, b"<html>sorry</html>", probe=golden("x", 1))
    assert "cube: the answer is not JSON: '<html>sorry" in failed.message
    assert not probed({}, b"<html>", probe=Probe(b"{}", (), 1.0, (Golden("any", b""),))).wrong


def test_a_function_that_failed_has_no_right_answer_though_it_was_http_200() -> None:
    error = GoldenAnswer(json.dumps({"nsfw": False}).encode(), 0.1, "UnhandledInvocationError")
    assert "cube: failed with UnhandledInvocationError: {" in refusal({}, error, probe=golden("nsfw", False)).message
    alone = refusal(error, probe=Probe(b"{}", (), 1.0))
    assert alone.message.startswith("show:3 failed with UnhandledInvocationError")


TRACE = 'Traceback (most recent call last):\n  File "/code/index.py", line 3, in handler\n    load()\n'


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (json.dumps({"errorMessage": "no GPU", "errorType": "CudaError", "stackTrace": [TRACE]}), "CudaError: no GPU"),
        (json.dumps({"errorMessage": f"{TRACE}ValueError: bad", "stackTrace": TRACE}), "ValueError: bad"),
        (json.dumps({"errorMessage": "two\nlines", "errorType": ""}), "two"),
        (f"{TRACE}OSError: [Errno 28] No space left on device\n", "OSError: [Errno 28] No space left on device"),
        ("panic: oops\n\ngoroutine 1 [running]:\nmain.main()\n", "panic: oops"),
        (json.dumps(["no", "object"]), '["no", "object"]'),
        ("", ""),
    ],
)  # fmt: skip
def test_of_a_functions_stack_trace_a_reason_has_the_one_line_that_says_why(body: str, line: str) -> None:
    assert error_line(body.encode()) == line
    answer = GoldenAnswer(body.encode(), 0.1, "UnhandledInvocationError")
    message = refusal({}, answer, probe=golden("nsfw", False)).message
    assert f"cube: failed with UnhandledInvocationError: {line}" in message
    assert "Traceback" not in message
    assert "\n" not in message


def test_a_request_that_must_be_refused_is_wrong_when_it_is_answered() -> None:
    probe = Probe(b"{}", (), 1.0, (Golden("bad prompt", b"", fails=True),))
    assert not probed({}, GoldenAnswer(b"no", 0.1, "HandledInvocationError"), probe=probe).wrong
    assert "bad prompt: was answered, expected an error" in refusal({}, {"ok": 1}, probe=probe).message


def test_the_hint_for_a_missing_digest_names_what_the_function_must_do() -> None:
    failed = refusal({"digest": "b" * 64}, probe=Probe(b"{}", (A,), 1.0))
    assert failed.message.startswith(f"show:3 answered without the digest {A.hex}: ")
    assert "manifest digest" in failed.hint


def test_latency_is_of_the_calls_after_the_first() -> None:
    probe = Probe(b"{}", (A,), 1.0, latency=Latency(20, 0.5))
    good = json.dumps(GOOD).encode()
    quick = [GoldenAnswer(good, 0.1)] * 19
    assert not probed(GoldenAnswer(good, 60.0), *quick, GoldenAnswer(good, 9.0), probe=probe).wrong, (
        "one of twenty may be slow"
    )
    failed = refusal(
        GoldenAnswer(good, 0.1), *quick[1:], GoldenAnswer(good, 0.75), GoldenAnswer(good, 9.0), probe=probe
    )
    assert (
        "latency: p95 is 0.750 s (of 20 calls, median 0.100 s, longest 9.000 s), want at most 0.5 s" in failed.message
    )


def test_every_call_that_is_timed_must_be_answered_well() -> None:
    probe = Probe(b"{}", (A,), 1.0, latency=Latency(2, 5.0))
    assert "latency 2: answered without the digest" in refusal(GOOD, GOOD, {}, probe=probe).message


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (2, 2), (19, 19), (20, 19), (21, 20), (100, 95)])
def test_the_95th_of_a_hundred_is_the_nearest_rank(count: int, rank: int) -> None:
    assert p95([float(number) for number in range(count, 0, -1)]) == float(rank)


@pytest.mark.parametrize("said", ["12", True, -1, float("nan"), float("inf"), None, {}])
def test_an_invalid_load_time_is_not_a_failure(said: object) -> None:
    assert probed({"load_s": said}, probe=Probe(b"{}", (), 1.0, load_path="load_s")).load_s is None
    assert probed(b"no json", probe=Probe(b"{}", (), 1.0, load_path="load_s")).load_s is None
    assert probed({}, probe=Probe(b"{}", (), 1.0, load_path="load_s")).load_s is None


def test_a_call_that_could_not_be_made_is_not_evaluated() -> None:
    def invoke(_body: bytes) -> GoldenAnswer:
        raise Unavailable("throttled")

    with pytest.raises(Unavailable, match="throttled"):
        run_probe("show:3", invoke, Probe(b"{}", (), 1.0), ignore_waits)


def test_asking_can_be_stopped_between_two_requests() -> None:
    calls: list[bytes] = []

    def invoke(body: bytes) -> GoldenAnswer:
        calls.append(body)
        return GoldenAnswer(b"{}", 0.0)

    def stop(what: str) -> None:
        if "call 3" in what:
            raise Cancelled(what)

    with pytest.raises(Cancelled):
        run_probe("show:3", invoke, Probe(b"{}", (), 1.0, latency=Latency(100, 1.0)), stop)
    assert len(calls) == 3
