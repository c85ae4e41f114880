"""Work of a command before it does anything: modules that it imports and validators that it builds, counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.cli.calling import Calling

ROOT: Final = Path(__file__).parents[3]
# The modules outside of the standard library that a command imports may grow by a tenth before this fails.
BESIDE_THE_RECORD: Final = 375
ELSEWHERE: Final = 283
COMMANDS: Final = [["status"], ["releases"], ["health"], ["hold", "m", "--why", "a test"], ["show", "r-1"]]
_PROGRAM: Final = """
import json, sys
before = set(sys.modules)  # of the interpreter's start: what a tool such as coverage hooks in
from syncd.cli.main import main
try:
    main(json.loads(sys.argv[1]))
finally:
    known = sys.stdlib_module_names
    modules = [each for each in sys.modules if each not in before and each.partition(".")[0] not in known]
    built = []
    if "syncd.config.fields" in sys.modules:
        tables = [sys.modules["syncd.config.fields"].Table]
        for table in tables:
            tables += table.__subclasses__()
        built = [each.__name__ for each in tables if each.__pydantic_complete__]
    with open(sys.argv[2], "w") as file:
        json.dump({"modules": modules, "built": built}, file)
"""


def _work(arguments: list[str], counted: Path) -> dict[str, Any]:
    argv = [sys.executable, "-c", _PROGRAM, json.dumps(arguments), str(counted)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    subprocess.run(argv, capture_output=True, check=False, cwd=ROOT, env=environment)
    found: dict[str, Any] = json.loads(counted.read_text())
    return found


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_beside_the_record_imports_what_it_uses(call: Calling, tmp_path: Path, arguments: list[str]) -> None:
    call.upgraded()
    modules = _work([*arguments, "-o", "json"], tmp_path / "counted.json")["modules"]
    assert "sqlalchemy" in modules
    assert len(modules) <= BESIDE_THE_RECORD, len(modules)


@pytest.mark.parametrize("arguments", [*COMMANDS, ["verify"]], ids=" ".join)
def test_a_command_for_a_server_imports_neither_the_record_nor_the_configuration(
    tmp_path: Path, arguments: list[str]
) -> None:
    modules = _work([*arguments, "--server", "http://127.0.0.1:1", "-o", "json"], tmp_path / "counted.json")["modules"]
    assert "httpx" in modules
    assert not {"sqlalchemy", "syncd.config", "syncd.state", "syncd.wiring"} & set(modules)
    assert len(modules) <= ELSEWHERE, len(modules)


def test_validators_are_built_for_the_tables_of_the_file_alone(call: Calling, tmp_path: Path) -> None:
    call.upgraded()
    built = _work(["status", "-o", "json"], tmp_path / "counted.json")["built"]
    assert "BindingSettings" in built
    absent = {"PaiRegistrySettings", "MlflowRegistrySettings", "OciRegistrySettings", "ImageTargetSettings"}
    assert not {*absent, "CostSettings", "AdviceSettings", "ReceiptSettings", "HookSettings"} & set(built)
