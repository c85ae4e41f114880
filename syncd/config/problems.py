"""Configuration problems: each with its key, the expected and the actual value."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from syncd.errors import Invalid

KeyPart = str | int
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def key_path(*parts: KeyPart) -> str:
    """A dotted key as it is written in TOML: `bindings.sd-hz.models[0].target`."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{bare}" if text else bare
    return text


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """`; did you mean "hangzhou"?`, or "" if no known name is similar."""
    near = difflib.get_close_matches(found, sorted(known), n=1, cutoff=0.7)
    return f'; did you mean "{near[0]}"?' if near else ""


def no_setting(found: str, known: Iterable[str]) -> str:
    """Advice for an unknown key."""
    return did_you_mean(found, known).removeprefix("; ") or "leave it out"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `advice` says what is expected, or what to do about the actual value."""

    key: str
    found: str
    advice: str

    def __str__(self) -> str:
        where = f"{self.key}: " if self.key else ""
        if self.advice.startswith("expected "):
            return f"{where}{self.advice}, got {self.found}"
        return f"{where}got {self.found}; {self.advice}"

    def as_json(self, file: str) -> dict[str, str]:
        """The problem as JSON. `expected` is empty where the advice is all there is."""
        if self.advice.startswith("expected "):
            expected, _, hint = self.advice.removeprefix("expected ").partition("; ")
        else:
            missing = re.match(r"there (?:is|are) no such ([a-z ]+)", self.advice)
            expected, hint = f"a name among the {_plural(missing[1])} of this file" if missing else "", self.advice
            expected = "a setting of this table" if self.found == "an unknown key" else expected
        return {"file": file, "key": self.key, "expected": expected, "got": self.found, "hint": hint}


def _plural(noun: str) -> str:
    return noun if noun.endswith("s") else f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"


class ConfigProblems(Invalid):
    """A refused configuration; its message has one line for each problem."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        lines = "\n".join(f"{file}: {problem}" for problem in problems)
        super().__init__(lines, hint="fix the file, then run `syncd config check`")
        self.message = lines  # the one message of several lines: each is a problem, with its values quoted
        self.args = (lines,)
        self.problems = problems
        self.details = {"problems": [problem.as_json(file) for problem in problems]}


def no_such(key: str, found: str, noun: str, known: frozenset[str]) -> Problem:
    """The problem of an unknown name."""
    plural = "there are no such credentials" if noun == "credentials" else f"there is no such {noun}"
    return Problem(key, json.dumps(found, ensure_ascii=False), plural + did_you_mean(found, known))
