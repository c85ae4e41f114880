"""A command line with a configuration of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.cli.calling import Calling


@pytest.fixture(scope="session")
def fresh_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty record, made once."""
    from syncd.engine import upgrade

    file = tmp_path_factory.mktemp("record") / "syncd.db"
    upgrade.create(f"sqlite:///{file}")
    return file


@pytest.fixture
def bare(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Calling:
    """No record yet."""
    return Calling(tmp_path, capsys, monkeypatch)


@pytest.fixture
def call(bare: Calling, fresh_record: Path) -> Calling:
    """An empty record."""
    shutil.copy(fresh_record, bare.database)
    return bare
