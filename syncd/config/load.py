"""TOML loader: validates each table by itself, so that every problem of a file is reported at once."""

from __future__ import annotations

import copy
import difflib
import gc
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from syncd.config import toml_errors
from syncd.config.checks.checks import problems_between
from syncd.config.fields import NAME_ADVICE, is_name, shown
from syncd.config.problems import ConfigProblems, KeyPart, Problem, key_path, no_setting
from syncd.config.registries import KINDS
from syncd.config.retention import RetentionSettings, ScrubSettings
from syncd.config.targets import ImageTargetSettings, NasTargetSettings, OssTargetSettings
from syncd.config.trust import ReceiptSettings
from syncd.config.values import (
    AdviceSettings,
    ApiSettings,
    BindingSettings,
    Config,
    CostSettings,
    CredentialsSettings,
    EventBridgeHookSettings,
    FcRuntimeSettings,
    HookSettings,
    NotifierSettings,
    PolicySettings,
    PrometheusSignalSettings,
    StateSettings,
    TransferSettings,
    UiSettings,
)

T = TypeVar("T", bound=BaseModel)

_SINGLE: Final[Mapping[str, type[BaseModel]]] = {
    "state": StateSettings,
    "transfer": TransferSettings,
    "policy": PolicySettings,
    "api": ApiSettings,
    "ui": UiSettings,
    "cost": CostSettings,
    "advice": AdviceSettings,
    "receipts": ReceiptSettings,
    "retention": RetentionSettings,
    "scrub": ScrubSettings,
}
_HOOKS: Final = get_args(HookSettings.model_fields["kind"].annotation)
_NOTIFIERS: Final = get_args(NotifierSettings.model_fields["kind"].annotation)
_NAMED: Final[Mapping[str, Mapping[str, type[BaseModel]]]] = {
    "registries": KINDS,
    "credentials": {"": CredentialsSettings},
    "targets": {"oss": OssTargetSettings, "nas": NasTargetSettings, "image": ImageTargetSettings},
    "runtimes": {"fc": FcRuntimeSettings},
    "bindings": {"": BindingSettings},
    "signals": {"prometheus": PrometheusSignalSettings},
    "notify": dict.fromkeys(_NOTIFIERS, NotifierSettings),
    "hooks": {**dict.fromkeys(_HOOKS, HookSettings), "eventbridge": EventBridgeHookSettings},
}
_TYPES: Final = {
    "missing": "this setting is required",
    "string_type": "expected text in quotes",
    "string_too_short": "expected some text",
    "string_too_long": "expected shorter text",
    "bool_type": "expected true or false",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "tuple_type": "expected a list",
    "dict_type": 'expected a table such as { key = "text" }',
    "too_short": "expected at least one",
}
_JUDGES: Final = {"url": "password"}  # a setting, and one whose problem depends on it without naming it
_WORD: Final = re.compile(r"[A-Za-z0-9_-]+")
_ANY_TEXT: Final = "whsec_c29tZSB0ZXh0"  # stands for a secret that is not set, in a configuration that is refused
_BOUNDS: Final = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and check a configuration; secrets come from `environ` and from the files that it names.

    Raises:
        ConfigProblems: It is missing or refused; has all problems, in the order of the file's sections.
    """
    with _without_collection():
        return _load(path, dict(environ))


@contextmanager
def _without_collection() -> Iterator[None]:
    """What is made of a file stays: searching it for cycles takes a third of the time of a file with 20 000 tables."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load(path: Path, environ: dict[str, str]) -> Config:
    document = _parse(path)
    problems = _unknown_sections(document)
    refused: dict[str, set[str]] = {}  # table -> names of the settings that it is read without
    sections: dict[str, Any] = {section: {} for section in _NAMED}
    for section, table in _SINGLE.items():
        if (
            section not in document
        ):  # its defaults, which need no validator: to build one takes longer than to read a file
            sections[section] = table.model_construct()
            continue
        value = _read(table, document.get(section, {}), (section,), environ, problems.append)
        sections[section] = value or _rest(table, document.get(section, {}), section, environ, refused) or table()
    for section, name, raw in _tables(document, problems.append):
        table_of = _kind(section, name, raw, problems.append)
        if table_of:
            value = _read(table_of, raw, (section, name), environ, problems.append)
            value = value or _rest(table_of, raw, key_path(section, name), environ, refused)
            sections[section].update({name: value} if value else {})
    config = Config(path=path, **sections)
    declared = {section: frozenset(map(str, _mapping(document.get(section)))) for section in _NAMED}
    problems.extend(each for each in problems_between(config, declared) if not _follows(each, refused))
    if problems:
        raise ConfigProblems(path.name, tuple(problems))
    return config


def _parse(path: Path) -> dict[str, Any]:
    text = ""
    try:
        text = path.read_bytes().decode()
        return tomllib.loads(text)
    except OSError as error:
        problem = Problem("", f"no readable file at {path}: {error.strerror}", "expected a TOML file")
        raise ConfigProblems(path.name, (problem,)) from error
    except UnicodeDecodeError as error:
        raise ConfigProblems(path.name, (Problem("", "bytes that are not UTF-8", "expected TOML"),)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigProblems(path.name, (toml_errors.problem_of(text, error),)) from error


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _unknown_sections(document: Mapping[str, Any]) -> list[Problem]:
    known = {*_SINGLE, *_NAMED}
    return [_unknown_section(name, raw, known) for name, raw in document.items() if name not in known]


def _unknown_section(name: str, raw: object, known: Collection[str]) -> Problem:
    homes = [] if isinstance(raw, dict) else [each for each, table in _SINGLE.items() if name in _fields(table)]
    if homes:
        return Problem(key_path(name), "a setting outside of its table", f"put it below [{homes[0]}]")
    what = "an unknown table" if isinstance(raw, dict | list) else "an unknown key outside of any table"
    return Problem(key_path(name), what, no_setting(name, known if isinstance(raw, dict | list) else ()))


def _tables(
    document: Mapping[str, Any], report: Callable[[Problem], None]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every named table: its section, its name, and its contents."""
    for section in _NAMED:
        tables = document.get(section, {})
        if not isinstance(tables, dict):
            report(Problem(key_path(section), _what(tables), f"expected tables: [{section}.NAME]"))
            continue
        for name, raw in tables.items():
            if not is_name(name):
                report(Problem(key_path(section, name), f"the name {shown(name)}", NAME_ADVICE))
            elif not isinstance(raw, dict):
                report(Problem(key_path(section, name), _what(raw), f"expected a table: [{section}.{name}]"))
            else:
                yield section, name, raw


def _kind(section: str, name: str, raw: Mapping[str, Any], report: Callable[[Problem], None]) -> type[BaseModel] | None:
    kinds = _NAMED[section]
    if "" in kinds:
        return kinds[""]
    kind = raw.get("kind")
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    choice = " or ".join(shown(known) for known in kinds)
    report(Problem(key_path(section, name, "kind"), shown(kind) if "kind" in raw else "nothing", f"expected {choice}"))
    return None


def _read(
    table: type[T],
    raw: object,
    where: tuple[KeyPart, ...],
    environ: Mapping[str, str],
    report: Callable[[Problem], None],
) -> T | None:
    try:
        return table.model_validate(raw, context=environ)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for detail in details:
            if detail["type"] != "too_short" or not _has_inner(detail, details):
                report(_problem(table, detail, where))
        return None


def _rest(table: type[T], raw: object, key: str, environ: Mapping[str, str], refused: dict[str, set[str]]) -> T | None:
    """A refused table without its unknown keys and the optional settings that are wrong.

    It is for the checks between tables, whose problems are to be reported at once too. None where that cannot be.
    """
    try:
        return table.model_validate(raw, context=dict(environ))
    except ValidationError as error:
        places = [detail["loc"] for detail in error.errors(include_url=False, include_input=False)]
    rest, names, known = copy.deepcopy(raw), set(), dict(environ)
    for place in places:
        holder: Any = rest
        for part in place[:-1]:
            holder = _part(holder, part)
        if not place or not isinstance(holder, dict) or place[-1] not in holder:
            return None
        value = holder[place[-1]]
        if isinstance(value, dict) and isinstance(value.get("env"), str):
            known[value["env"]] = _ANY_TEXT
        else:
            del holder[place[-1]]
        names |= {str(place[-1]), *difflib.get_close_matches(str(place[-1]), _keys(table, place[:-1]), n=1, cutoff=0.5)}
    try:
        found = table.model_validate(rest, context=known)
    except ValidationError:
        return None
    refused[key] = names | {_JUDGES[name] for name in names if name in _JUDGES}
    return found


def _part(holder: object, part: KeyPart) -> object:
    """The value at a key or an index; None where there is none."""
    if isinstance(holder, dict):
        return holder.get(part)
    return holder[part] if isinstance(holder, list) and isinstance(part, int) and part < len(holder) else None


def _follows(problem: Problem, refused: Mapping[str, Collection[str]]) -> bool:
    """Whether a problem between tables may only be there because a setting was read without its value."""
    for table, names in refused.items():
        within = re.match(rf"{re.escape(table)}(?:[.\[].*)?$", problem.key)
        text = f"{problem.key} {problem.advice}" if within else problem.advice
        mentioned = within or re.search(rf"(?<![\w.-]){re.escape(table)}(?![\w-])", text)
        if mentioned and set(_WORD.findall(text)) & set(names):
            return True
    return False


def _what(value: object) -> str:
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return "a list: [[…]]"
    return "a list" if isinstance(value, list) else "a value"


def _has_inner(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether a list only appears empty because its items were refused already."""
    place = detail["loc"]
    return any(other["loc"][: len(place)] == place and other is not detail for other in details)


def _problem(table: type[BaseModel], detail: ErrorDetails, where: tuple[KeyPart, ...]) -> Problem:
    """Convert a pydantic error to a problem. The value is shown only if the setting cannot be a secret."""
    place, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    key = key_path(*where, *place)
    if kind == "wrong":
        return Problem(key, context["found"], context["advice"])
    if kind == "extra_forbidden":
        return Problem(key, "an unknown key", no_setting(str(place[-1]), _keys(table, place[:-1])))
    if kind == "missing":
        return Problem(key, "nothing", _TYPES[kind])
    if kind == "model_type":
        return Problem(key, _what(detail["input"]), "expected a table")
    if kind == "tuple_type" and isinstance(detail["input"], dict):
        return Problem(key, "a table", f"expected a list: [[{key}]] with two pairs of brackets")
    found = shown(detail["input"])
    if kind == "literal_error":
        return Problem(key, found, f"expected {context['expected'].replace(chr(39), chr(34))}")
    if kind == "float_type" and str(place[-1]).endswith("_s"):
        return Problem(key, found, "expected a number of seconds")
    bounds = [f"expected {words} {context[bound]:.10g}" for bound, words in _BOUNDS.items() if bound in context]
    return Problem(key, found, bounds[0] if bounds else _TYPES.get(kind, detail["msg"]))


def _keys(table: type[BaseModel], place: tuple[KeyPart, ...]) -> set[str]:
    """The keys of the table at `place` inside `table`: its fields, followed through lists and tables."""
    for part in place:
        if isinstance(part, str):
            field = _fields(table).get(part)
            inner = list(_tables_in(field.annotation)) if field else []
            if len(inner) != 1:  # a table whose keys are the user's own, such as `gpus_max`
                return set()
            table = inner[0]
    return set(_fields(table))


def _fields(table: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The fields of a table by their names in the file."""
    return {field.alias or name: field for name, field in table.model_fields.items()}


def _tables_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables_in(inner)
