"""Documentation pages as data: code blocks, links, tables, commands and names."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import typer
import yaml
from syncd.cli.main import app

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = tuple(sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("changes/*.md"))))

_FENCE: Final = re.compile(r"(?ms)^```([^\n]*)\n(.*?)^```$")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE: Final = re.compile(r"`([^`\n]+)`")
_HEADING: Final = re.compile(r"(?m)^#+ (.+)$")
# A command stands at the beginning of a line, or after what ends or joins another one.
_WORDS: Final = r"""(?:"[^"\n]*"|'[^'\n]*'|[^;&|<>\n"'])*"""
_COMMAND: Final = re.compile(rf"(?m)(?:^|[;&|)]|\bthen|\bdo)\s*(?:[\w/.-]*/)?syncd ({_WORDS})")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block: its page, its info string and its text."""

    page: Path
    info: str
    text: str

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    def __str__(self) -> str:
        first = self.text.strip().splitlines()[0] if self.text.strip() else "nothing"
        return f"{name(self.page)}: {first[:40]}"


def name(page: Path) -> str:
    """Path of a page relative to the repository."""
    return page.relative_to(ROOT).as_posix()


@cache
def blocks(*languages: str) -> tuple[Block, ...]:
    """Every fenced block of these languages, in all pages."""
    found = (Block(page, info, text) for page in PAGES for info, text in _FENCE.findall(page.read_text()))
    return tuple(block for block in found if block.language in languages)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def codes(page: Path) -> list[str]:
    """The inline code of a page."""
    return _CODE.findall(prose(page))


def links(page: Path) -> list[str]:
    """Every link of a page."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts and the site make them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))}


def rows(page: Path, under: str) -> list[list[str]]:
    """The body of the first table below a heading, cell by cell."""
    below = page.read_text().partition(f"# {under}\n")[2]
    lines = re.split(r"(?m)^#+ ", below)[0].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return table[2:]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `syncd …` line of shell, sessions and YAML, as (where, arguments)."""
    for block in blocks("sh", "console"):
        text = block.text.replace("\\\n", " ")
        if block.language == "console":
            text = "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))
        for line in _COMMAND.findall(text):
            yield str(block), shlex.split(line, comments=True)
    for block in blocks("yaml"):
        for arguments in _yaml_commands(yaml.safe_load(block.text)):
            yield str(block), arguments


def _yaml_commands(document: Any) -> Iterator[list[str]]:
    match document:
        case ["syncd", *arguments]:
            yield [str(argument) for argument in arguments]
        case dict():
            for value in document.values():
                yield from _yaml_commands(value)
        case list():
            for value in document:
                yield from _yaml_commands(value)
        case str() if document.startswith("syncd "):
            yield from (shlex.split(line) for line in _COMMAND.findall(document))


def parse(arguments: list[str]) -> None:
    """Parse a command line with the real commands, without running it. Raises what the command line would."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("syncd", [], resilient_parsing=True)
    rest = [word for word in arguments if word != "--help"]
    while rest and hasattr(command, "list_commands"):
        if command.invoke_without_command and rest[0].startswith("-"):
            break  # a group that is a command by itself
        _, command, rest = command.resolve_command(context, rest)
        if hasattr(command, "list_commands"):
            context = command.make_context(command.name, [], resilient_parsing=True)
    if "--help" not in arguments:
        command.make_context(command.name, rest)


def known_options(arguments: list[str]) -> set[str]:
    """The options of the command that a mention in prose, possibly an incomplete command line, names."""
    command: Any = typer.main.get_command(app)
    for word in arguments:
        if not hasattr(command, "list_commands") or word.startswith("-"):
            break
        found = command.get_command(None, word)
        assert found is not None, f"there is no command {word!r}"
        command = found
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }


def sources(*, without: str = "syncd/localcloud/") -> Iterator[Path]:
    """The program's files, the local cloud's left out unless asked for."""
    for path in sorted((ROOT / "syncd").rglob("*.py")):
        if not (without and name(path).startswith(without)):
            yield path


@cache
def texts() -> frozenset[str]:
    """Every piece of text in the program, f-strings in the pieces between their values."""
    found: set[str] = set()
    for path in sources(without=""):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return frozenset(found)


@cache
def logged() -> frozenset[str]:
    """The `event` of every line that the program logs."""
    found: set[str] = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                of_log = isinstance(node.func.value, ast.Name) and node.func.value.id in {"log", "_log"}
                first = node.args[0]
                if of_log and isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return frozenset(found)


@cache
def literals() -> frozenset[str]:
    """Every text in the program's code but the keys of its log lines."""
    found: set[str] = set()
    for path in sources():
        tree = ast.parse(path.read_text())
        keys = {id(node.args[0]) for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_log(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in keys:
                found.add(node.value)
    return frozenset(found)


def _is_log(node: ast.Call) -> bool:
    is_method = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    return bool(node.args) and is_method and node.func.value.id in {"log", "_log"}  # type: ignore[attr-defined]


@cache
def columns() -> frozenset[tuple[str, ...]]:
    """The headings of every table that a command prints; empty ones left out."""
    found: set[tuple[str, ...]] = set()
    for path in (ROOT / "syncd" / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Tuple) and all(isinstance(item, ast.Constant) for item in node.elts):
                words = tuple(str(item.value) for item in node.elts if isinstance(item, ast.Constant))
                if words and all(word == word.upper() for word in words):
                    found.add(tuple(word for word in words if word))
    return frozenset(found)
