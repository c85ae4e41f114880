"""Health check: sends every request of a probe to a function and checks each answer.

The only place that evaluates answers: probes of releases and canary analysis use its reports.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeGuard

from syncd.runtime import paths
from syncd.runtime.base import ProbeFailed, Waiting
from syncd.values.function import AskResult, Golden, GoldenAnswer, Latency, Probe, ProbeReport

Invoke = Callable[[bytes], GoldenAnswer]

_ANSWER_SHOWN_MAX: Final = 200
_STAGES_MAX: Final = 12
_STAGE_NAME_MAX: Final = 32
_VALUE_SHOWN_MAX: Final = 80
_WRONG_SHOWN_MAX: Final = 4


def run_probe(subject: str, invoke: Invoke, probe: Probe, waiting: Waiting) -> ProbeReport:
    """Make every request of the probe and report; `subject` names the function version in messages.

    Raises:
        ProbeFailed: An answer is wrong.
        What `invoke` raises: a call that could not be made has no answer to evaluate.
    """
    waiting(f"{subject}: requesting its digests")
    first = invoke(probe.body)
    made = [AskResult("digests", first.seconds, _digests(first, probe))]
    for golden in probe.golden:
        waiting(f"{subject}: requesting {golden.name}")
        answer = invoke(golden.body)
        made.append(AskResult(golden.name, answer.seconds, "; ".join(_golden(answer, golden))))
    in_a_row = []
    for number in range(probe.latency.calls if probe.latency else 0):
        waiting(f"{subject}: measuring latency, call {number + 1}")
        answer = invoke(probe.body)
        in_a_row.append(AskResult(f"latency {number + 1}", answer.seconds, _digests(answer, probe)))
    made += in_a_row
    wrong = [f"{each.what}: {each.wrong}" if each.what != "digests" else each.wrong for each in made if each.wrong]
    if probe.latency:
        wrong += _too_slow([each.seconds for each in in_a_row], probe.latency)
    load_s, stages_s = _load_s(first, probe.load_path)
    report = ProbeReport(first.body, first.seconds, tuple(made), tuple(wrong), first.inside_s, load_s, stages_s)
    if wrong:
        raise ProbeFailed(f"{subject} {_summary(wrong)}", report, hint=_hint(made[0].wrong))
    return report


def p95(seconds: list[float]) -> float:
    """The smallest time that 95 of 100 do not exceed. Of fewer than 20 it is the longest. Not for an empty list."""
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def _digests(answer: GoldenAnswer, probe: Probe) -> str:
    if answer.error:
        return _failed(answer)
    lacking = [digest.hex for digest in probe.digests if digest.hex.encode() not in answer.body]
    return f"answered without the digest {lacking[0]}: {_start(answer)!r}" if lacking else ""


def _golden(answer: GoldenAnswer, golden: Golden) -> Iterator[str]:
    if golden.fails:
        if not answer.error:
            yield f"was answered, expected an error: {_start(answer)!r}"
        return
    try:
        document = _document(answer, golden)
    except LookupError as missing:
        if not golden.may_lack:
            yield str(missing)
        return
    for path, want in golden.json.items():
        yield from _value(document, path, want, golden)


def _document(answer: GoldenAnswer, golden: Golden) -> object:
    """The answer's JSON; None where no value of it is expected. Raises LookupError: there is none."""
    if answer.error:
        raise LookupError(_failed(answer))
    try:
        return json.loads(answer.body) if golden.json else None
    except ValueError as error:
        raise LookupError(f"the answer is not JSON: {_start(answer)!r}") from error


def _value(document: object, path: str, want: object, golden: Golden) -> Iterator[str]:
    try:
        got = paths.find(document, path)
    except LookupError as nothing:
        if not golden.may_lack:
            yield f"at {path} got nothing ({nothing}), want {_shown(want)}"
        return
    if not _same(got, want, golden.tolerance):
        within = f" ± {golden.tolerance:g}" if golden.tolerance and isinstance(want, int | float | list) else ""
        yield f"at {path} got {_shown(got)}, want {_shown(want)}{within}"


def _same(got: object, want: object, tolerance: float) -> bool:
    """Equal as JSON: `true` is not a number, 1 equals 1.0, and every number inside has the tolerance."""
    if isinstance(want, bool) or isinstance(got, bool):
        return got is want
    if isinstance(want, int | float) and isinstance(got, int | float):
        return got == want or abs(got - want) <= tolerance * max(1.0, abs(want))
    if isinstance(want, list) and isinstance(got, list):
        return len(got) == len(want) and all(_same(g, w, tolerance) for g, w in zip(got, want, strict=True))
    if isinstance(want, Mapping) and isinstance(got, Mapping):
        return got.keys() == want.keys() and all(_same(got[key], want[key], tolerance) for key in want)
    return got == want


def _too_slow(seconds: list[float], bound: Latency) -> Iterator[str]:
    found = p95(seconds)
    if found > bound.p95_s:
        middle, longest = sorted(seconds)[len(seconds) // 2], max(seconds)
        of = f"of {len(seconds)} calls, median {middle:.3f} s, longest {longest:.3f} s"
        yield f"latency: p95 is {found:.3f} s ({of}), want at most {bound.p95_s:g} s"


def _load_s(answer: GoldenAnswer, path: str) -> tuple[float | None, Mapping[str, float]]:
    """The load time in the answer, and its stages where it is an object of them. None is not a failure.

    The first stages count, up to `_STAGES_MAX`, and they add up to the load time.
    """
    if not path or answer.error:
        return None, {}
    try:
        said = paths.find(json.loads(answer.body), path)
    except (ValueError, LookupError):
        return None, {}
    if isinstance(said, Mapping):
        stages = [(str(name)[:_STAGE_NAME_MAX], float(value)) for name, value in said.items() if _is_seconds(value)]
        found = dict(stages[:_STAGES_MAX])
        return (sum(found.values()), found) if found else (None, {})
    return (said, {}) if _is_seconds(said) else (None, {})


def _is_seconds(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _summary(wrong: list[str]) -> str:
    more = len(wrong) - _WRONG_SHOWN_MAX
    return "; ".join(wrong[:_WRONG_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")


def _hint(first: str) -> str:
    if first.startswith("answered without"):
        return "the function must answer with the manifest digest of what it loaded"
    return "check the function's log; `probe` of the binding defines the expected answer"


def _failed(answer: GoldenAnswer) -> str:
    return f"failed with {answer.error}: {error_line(answer.body)}"


def error_line(body: bytes) -> str:
    """What a failed function says, on one short line. Function Compute sends its stack trace along, as JSON."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("errorMessage"), str):
        kind = found.get("errorType")
        text = f"{kind}: {found['errorMessage']}" if isinstance(kind, str) and kind else found["errorMessage"]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and lines[0].startswith("Traceback"):
        lines = lines[-1:]  # Python has the cause last
    return short_of(lines[0] if lines else "", _ANSWER_SHOWN_MAX)


def short_of(text: str, characters: int) -> str:
    """The beginning of a longer text."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _start(answer: GoldenAnswer) -> str:
    return answer.body[:_ANSWER_SHOWN_MAX].decode("utf-8", "replace")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return short_of(text, _VALUE_SHOWN_MAX)
