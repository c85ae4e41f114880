"""Every command: its help, its example, its forms, and that it loads only what it uses."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from syncd.cli.exit_codes import Exit
from syncd.cli.main import COMMANDS, app
from syncd.cli.remote import WITH_SERVER
from syncd.state import schema_version, upgrade

from tests.unit.cli.calling import Calling

ROOT = Path(__file__).parents[3]
GROUP = typer.main.get_command(app)
HEAVY = ("alembic", "dbos", "oss2", "alibabacloud_fc20230330", "apscheduler", "httpx", "structlog", "rich")


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its path."""
    context = GROUP.make_context("syncd", [], resilient_parsing=True)
    for name in COMMANDS:
        found: Any = GROUP.get_command(context, name)  # type: ignore[attr-defined]
        inner: Any = getattr(found, "commands", None)
        yield from (((name, sub), inner[sub]) for sub in inner) if inner else (((name,), found),)


PATHS = [path for path, _ in commands()]


def examples(help_text: str) -> list[str]:
    return re.findall(r"Example: (syncd .+)", help_text)


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=[" ".join(path) for path in PATHS])
def test_each_command_has_an_example_that_parses(path: tuple[str, ...], command: Any) -> None:
    found = examples(command.help)
    assert found, f"{path} shows no example"
    for example in found:
        program, *words = shlex.split(example)
        assert program == "syncd"
        assert tuple(words[: len(path)]) == path
        command.make_context(" ".join(path), words[len(path) :])


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_each_command_prints_its_help_and_exits_with_0(bare: Calling, path: tuple[str, ...]) -> None:
    reported = bare(*path, "--help")
    assert (reported.code, reported.err) == (0, "")
    assert reported.out.startswith(f"Usage: syncd {' '.join(path)}")
    assert "Example: syncd" in reported.out


def test_the_first_lines_in_the_list_are_those_of_the_commands() -> None:
    for path, command in commands():
        if len(path) == 1:
            line = COMMANDS[path[0]].line.rstrip(".")
            assert line.split()[0] == command.help.split()[0], f"{path}: {line!r} and {command.help.splitlines()[0]!r}"


@pytest.mark.parametrize("path", [p for p in PATHS if p != ("demo",)], ids=" ".join)
def test_each_command_has_both_forms(path: tuple[str, ...]) -> None:
    command = dict(commands())[path]
    assert {"--output", "-o"} <= {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize(
    "arguments",
    [
        ("nope",),
        ("config",),
        ("config", "nope"),
        ("status", "-o", "yaml"),
        ("status", "a", "b"),
        ("show",),
        ("releases", "-n", "0"),
        ("releases", "-n", "many"),
        ("publish", "m@v1", "--timeout", "soon"),
        ("--nope",),
        ("status", "--nope"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_one_line_a_hint_and_exit_code_2(bare: Calling, arguments: tuple[str, ...]) -> None:
    reported = bare(*arguments)
    assert (reported.code, reported.out) == (2, "")
    error, hint = reported.err.splitlines()
    assert error.startswith("error: ")
    assert "--help" in hint
    if arguments[-2:] != ("-o", "yaml"):
        document = bare(*arguments, "-o", "json").document
        assert document["exit_code"] == 2


def test_without_arguments_the_commands_are_listed(bare: Calling) -> None:
    reported = bare()
    assert reported.code == 0
    assert all(f"\n  {name} " in reported.out for name in COMMANDS)


def test_there_is_a_version(bare: Calling) -> None:
    reported = bare("--version")
    assert reported.code == 0
    assert reported.out.startswith("syncd ")


def test_the_documented_exit_codes_are_the_exit_codes() -> None:
    rows = re.findall(
        r"^\| (\d+) \| `([A-Z_]+)` \|", (ROOT / "docs" / "reference" / "exit-codes.md").read_text(), re.MULTILINE
    )
    assert [(int(number), name) for number, name in rows] == [(code.value, code.name) for code in Exit]


def test_the_level_that_commands_ask_for_is_that_of_the_newest_migration() -> None:
    assert upgrade.newest() == schema_version.NEWEST


LIGHT = [["--help"], ["--version"], ["config", "check"], ["status"], ["releases"], ["hold", "m"], ["health"]]


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_common_commands_load_no_vendor_sdk_no_engine_and_no_log_writer(call: Calling, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom syncd.cli.main import main\n"
        f"try:\n    main({[*arguments, '-o', 'json'] if arguments[0][0] != '-' else arguments!r})\n"
        f"finally:\n    print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr == "[]\n", done
    assert call.config.exists()


def test_all_problems_of_a_configuration_are_a_list_in_json(bare: Calling) -> None:
    bare.change("tick_s = 0.1", "tic_s = 0.1")
    bare.change('target = "nas"', 'target = "nass"')
    reported = bare("config", "check", "-o", "json")
    assert reported.code == 2
    assert [(each["file"], each["key"]) for each in reported.document["problems"]] == [
        ("config.toml", "policy.tic_s"),
        ("config.toml", "bindings.b.models[0].target"),
    ]


def test_a_warning_is_an_error_when_asked(bare: Calling) -> None:
    bare.upgraded().change("[policy]", '[policy]\napproval = ["n"]')
    reported = bare("config", "check", "-o", "json")
    assert reported.code == 0
    assert "policy.approval[0]" in [each["key"] for each in reported.document["problems"]]
    reported = bare("config", "check", "--strict")
    assert reported.code == 2
    assert 'error: policy.approval[0]: got "n"; no binding serves such a model' in reported.out


def test_the_commands_with_server_are_those_that_hints_name_with_it() -> None:
    having = {path[0] for path, command in commands() if any("--server" in each.opts for each in command.params)}
    assert having == WITH_SERVER


def test_a_configuration_for_the_local_cloud_is_good_and_never_overwritten(bare: Calling) -> None:
    bare.patch.setenv("SYNCD_ACCESS_KEY_SECRET", "local-access-secret")
    bare.patch.delenv("SYNCD_CONFIG")
    made = bare.home / "new" / "config.toml"
    asked = ("config", "init", "--local", "--regions", "cn-hangzhou,cn-shanghai", "-c", str(made))
    reported = bare(*asked)
    assert (reported.code, reported.err) == (0, "")
    assert "next: in another terminal: syncd local up --root" in reported.out
    assert bare("db", "create", "-c", str(made)).code == 0
    assert bare("config", "check", "-c", str(made)).out.endswith(
        "1 registries, 2 targets, 2 runtimes, 2 bindings, 1 models\n"
    )
    printed = bare("local", "up", "--print-config", "--root", str(made.parent / "cloud"))
    assert printed.out == made.read_text()
    assert bare("local", "up", "--print-config", "--port", "0").code == 2
    again = bare(*asked)
    assert (again.code, "exists already" in again.err) == (Exit.CONFLICT, True)


def test_the_example_configuration_is_written(bare: Calling) -> None:
    made = bare.home / "example.toml"
    assert bare("config", "init", "-c", str(made)).code == 0
    assert made.read_text() == (ROOT / "config.example.toml").read_text()


def completed(call: Calling, *words: str) -> list[str]:
    """What a shell offers for the last of these words."""
    env = {"_SYNCD_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("syncd", *words)), "COMP_CWORD": str(len(words))}
    env |= {"SYNCD_CONFIG": str(call.config), "CALLING_SECRET": "x", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    program = [sys.executable, "-c", "from syncd.cli.main import app; app(prog_name='syncd')"]
    done = subprocess.run(program, env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_a_shell_completes_names_of_models_and_releases(call: Calling) -> None:
    from syncd.state.releases import releases
    from syncd.state.state import State

    state = State(f"sqlite:///{call.database}")
    with state.write() as conn:
        releases.create(conn, model="m", ref="v1", registry="models", requested_by="ann", now=state.now(conn))
    state.close()
    assert completed(call, "status", "") == ["m"]
    assert completed(call, "cancel", "r-") == ["r-1"]
    assert completed(call, "drift", "") == ["b", "m"]
    assert completed(call, "status", "x") == []
    call.config.write_text("nonsense")
    assert completed(call, "status", "") == []
