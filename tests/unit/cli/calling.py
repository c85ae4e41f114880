"""The command line called in this process: what it prints and the code it ends with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from syncd.cli.main import main


@dataclass(frozen=True)
class Reported:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


class Calling:
    """Calls the entry point with a configuration of its own; a bug would come out as an exception."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.config = home / "config.toml"
        self.database = home / "syncd.db"
        self._capsys = capsys
        self.patch = patch
        patch.setenv("SYNCD_CONFIG", str(self.config))
        patch.setenv("CALLING_SECRET", "calling-secret-of-a-test")
        self.config.write_text(CONFIG.format(home=home))
        (home / "registry" / "m").mkdir(parents=True)
        (home / "nas").mkdir()

    def __call__(self, *arguments: str) -> Reported:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        seen = self._capsys.readouterr()
        assert "calling-secret-of-a-test" not in seen.out + seen.err
        code = ended.value.code
        assert isinstance(code, int)
        return Reported(int(code), seen.out, seen.err)

    def upgraded(self) -> Calling:
        assert self("db", "create").code == 0
        return self

    def change(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))


CONFIG = """
[state]
url = "sqlite:///{home}/syncd.db"

[policy]
step_failures_max = 1
retry_base_s = 0.1
tick_s = 0.1

[registries.models]
kind = "directory"
path = "{home}/registry"

[credentials.key]
access_key_id = "local-access-key"
access_key_secret = {{ env = "CALLING_SECRET" }}

[targets.nas]
kind = "nas"
region = "cn-shanghai"
path = "{home}/nas"
server = "nas.local"

[runtimes.fc]
kind = "fc"
region = "cn-shanghai"
endpoint = "127.0.0.1:9"
protocol = "http"
credentials = "key"

[bindings.b]
runtime = "fc"
function = "f"
alias = "prod"

[[bindings.b.models]]
model = "m"
target = "nas"
mount_dir = "/mnt/m"
"""
