"""The second cloud, the proxy and the oracle import nothing of syncd, of its local cloud, or of its other tests."""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).parent
# Clients that nobody here wrote: they are what the cloud is tested with.
FOREIGN = frozenset({"alibabacloud_fc20230330", "alibabacloud_oss_v2", "alibabacloud_tea_openapi"})


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(node.module or "")
    return names


def test_no_code_is_shared_with_syncd() -> None:
    files = sorted(HERE.rglob("*.py"))
    assert len(files) > 10
    for path in files:
        for name in _imported(path):
            own = name == "tests.foreign" or name.startswith("tests.foreign.")
            assert own or name.split(".")[0] not in {"syncd", "tests", "bench", "migrations"}, f"{path}: imports {name}"
            assert path.name.startswith("test_") or name.split(".")[0] not in FOREIGN, f"{path}: imports {name}"
