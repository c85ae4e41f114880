"""The manual page: it has every command and exit code, and programs that read such pages read it without a warning."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from syncd.cli.exit_codes import Exit
from syncd.cli.main import COMMANDS

PAGE = Path(__file__).parents[3] / "deploy" / "man" / "syncd.1"


def test_it_has_every_command_and_every_exit_code() -> None:
    text = PAGE.read_text()
    headings = re.findall(r"^\.SS syncd ([a-z\\-]+)", text, re.MULTILINE)
    assert {each.replace("\\", "") for each in headings} == set(COMMANDS)
    codes = re.findall(r"^\.TP\n\\fB(\d+)\\fR$", text.partition(".SH EXIT STATUS")[2], re.MULTILINE)
    assert [int(code) for code in codes] == list(Exit)
    assert re.findall(r"^\.SH (.+)$", text, re.MULTILINE) == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES"
    ]  # fmt: skip


def test_no_line_of_text_is_taken_for_a_macro() -> None:
    for line in PAGE.read_text().splitlines():
        macro = re.match(r"[.'](.*)", line)
        assert macro is None or re.match(r'(TH|SH|SS|PP|TP|B)\b|\\"', macro[1]), line


@pytest.mark.needs_groff
def test_groff_formats_it_without_a_warning() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", str(PAGE)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.needs_lexgrog
def test_apropos_finds_its_name_and_what_it_does() -> None:
    done = subprocess.run(["lexgrog", str(PAGE)], capture_output=True, text=True, check=True, timeout=60)
    assert '"syncd - bring a model version to every region' in done.stdout
