"""Asks a function everything that a probe says, and holds each answer against what it must be.

The one place that judges answers: a release's probe and a canary's judge get the same reports from it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from syncd.runtime import paths
from syncd.runtime.base import ProbeFailed, Waiting
from syncd.values.function import AskResult, Golden, GoldenAnswer, Latency, Probe, ProbeReport

Invoke = Callable[[bytes], GoldenAnswer]

_ANSWER_SHOWN_MAX: Final = 200
_VALUE_SHOWN_MAX: Final = 80
_WRONG_SHOWN_MAX: Final = 4


def run_probe(subject: str, invoke: Invoke, probe: Probe, waiting: Waiting) -> ProbeReport:
    """Make every request of the probe and report; `subject` names the function version in messages.

    Raises:
        ProbeFailed: Something is not as it must be.
        What `invoke` raises: a call that could not be made has no answer to be judged.
    """
    waiting(f"{subject} is asked for its digests")
    first = invoke(probe.body)
    made = [AskResult("digests", first.seconds, _digests(first, probe))]
    for golden in probe.golden:
        waiting(f"{subject} is asked {golden.name}")
        answer = invoke(golden.body)
        made.append(AskResult(golden.name, answer.seconds, "; ".join(_golden(answer, golden))))
    in_a_row = []
    for number in range(probe.latency.calls if probe.latency else 0):
        waiting(f"{subject} is asked how fast it is, call {number + 1}")
        answer = invoke(probe.body)
        in_a_row.append(AskResult(f"latency {number + 1}", answer.seconds, _digests(answer, probe)))
    made += in_a_row
    wrong = [f"{each.what}: {each.wrong}" if each.what != "digests" else each.wrong for each in made if each.wrong]
    if probe.latency:
        wrong += _too_slow([each.seconds for each in in_a_row], probe.latency)
    load_s = _load_s(first, probe.load_path)
    report = ProbeReport(first.body, first.seconds, tuple(made), tuple(wrong), first.inside_s, load_s)
    if wrong:
        raise ProbeFailed(f"{subject} {_parsed(wrong)}", report, hint=_hint(made[0].wrong))
    return report


def p95(seconds: list[float]) -> float:
    """The least of the times that 95 of 100 do not exceed. Of fewer than 20 it is the longest. Not of none."""
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def _digests(answer: GoldenAnswer, probe: Probe) -> str:
    if answer.error:
        return _failed(answer)
    lacking = [digest.hex for digest in probe.digests if digest.hex.encode() not in answer.body]
    return f"answered without the digest {lacking[0]}: {_start(answer)!r}" if lacking else ""


def _golden(answer: GoldenAnswer, golden: Golden) -> Iterator[str]:
    if golden.fails:
        if not answer.error:
            yield f"was answered, and must be refused: {_start(answer)!r}"
        return
    if answer.error:
        yield _failed(answer)
        return
    if not golden.json:
        return
    try:
        document = json.loads(answer.body)
    except ValueError:
        yield f"the answer is not JSON: {_start(answer)!r}"
        return
    for path, want in golden.json.items():
        try:
            got = paths.find(document, path)
        except LookupError as nothing:
            yield f"at {path} got nothing ({nothing}), want {_shown(want)}"
            continue
        if not _same(got, want, golden.tolerance):
            within = f" ± {golden.tolerance:g}" if golden.tolerance and isinstance(want, int | float | list) else ""
            yield f"at {path} got {_shown(got)}, want {_shown(want)}{within}"


def _same(got: object, want: object, tolerance: float) -> bool:
    """Equal as JSON: `true` is no number, 1 is 1.0, and every number within has the tolerance."""
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


def _load_s(answer: GoldenAnswer, path: str) -> float | None:
    """What the answer says of itself; an answer that says nothing useful is no reason to fail."""
    if not path or answer.error:
        return None
    try:
        said = paths.find(json.loads(answer.body), path)
    except (ValueError, LookupError):
        return None
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    return float(said) if 0 <= said < math.inf else None


def _parsed(wrong: list[str]) -> str:
    more = len(wrong) - _WRONG_SHOWN_MAX
    return "; ".join(wrong[:_WRONG_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")


def _hint(first: str) -> str:
    if first.startswith("answered without"):
        return "the function must answer with the manifest digest of what it loaded"
    return "the function's log tells more; `probe` of the binding says what it must answer"


def _failed(answer: GoldenAnswer) -> str:
    return f"failed with {answer.error}: {answer.body[: 2 * _ANSWER_SHOWN_MAX].decode('utf-8', 'replace')}"


def _start(answer: GoldenAnswer) -> str:
    return answer.body[:_ANSWER_SHOWN_MAX].decode("utf-8", "replace")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_SHOWN_MAX else text[: _VALUE_SHOWN_MAX - 1] + "…"
