"""`syncd workers`, and processes of a fleet that are refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from syncd.cli.exit_codes import Exit
from syncd.state.access import workers
from syncd.state.state import State

from tests.unit.cli.calling import Calling


def come(call: Calling, name: str, role: str, region: str = "", *, ago_s: float = 0, active: bool = False) -> None:
    served: dict[str, Any] = {"queues": [f"control:{region}"], "faults": {"nas:nas": "no answer"}}
    capabilities = served if region else {}
    state = State(f"sqlite:///{call.database}")
    with state.write() as conn:
        at = state.now(conn) - timedelta(seconds=ago_s)
        workers.enter(
            conn, name, owner=name, role=role, region=region, capabilities=capabilities, version="1.0", lease_s=30.0,
            now=at,
        )  # fmt: skip
        workers.seen(conn, name, name, capabilities, at, active=active)
    state.close()


def states(call: Calling) -> dict[str, str]:
    return {row["name"]: row["state"] for row in call("workers", "-o", "json").document["workers"]}


def test_who_serves_what_is_shown_and_what_nobody_serves(call: Calling) -> None:
    assert call("workers", "-o", "json").document == {"workers": [], "unserved": []}
    come(call, "c1", "controller", active=True)
    come(call, "c2", "controller")
    come(call, "old", "worker", "cn-shanghai", ago_s=60)
    assert states(call) == {"c1": "active", "c2": "stand-by", "old": "silent"}
    come(call, "w", "worker", "cn-shanghai")
    found = call("workers", "-o", "json").document
    assert found["unserved"] == ["nas:nas", "transfer:cn-shanghai"]
    told = call("workers").out
    assert "w does not serve nas:nas: no answer" in told
    assert "nobody serves transfer:cn-shanghai: its steps wait" in told


def test_a_worker_is_cordoned_drained_and_let_work_again_by_name(call: Calling) -> None:
    come(call, "w", "worker", "cn-shanghai")
    for command, state, words in (
        ("cordon", "cordoned", "w is cordoned; it runs 0 steps"),
        ("drain", "draining", "w is draining; it runs 0 steps"),
        ("uncordon", "serving", "w is no longer cordoned; it runs 0 steps"),
    ):
        assert call("workers", command, "w").out == f"{words}\n"
        assert states(call) == {"w": state}
    assert call("workers", "cordon", "w", "-o", "json").document["cordoned"]
    record = State(f"sqlite:///{call.database}")
    with record.write() as conn:
        workers.gone(conn, "w", "w", record.now(conn))
    record.close()
    assert states(call) == {"w": "stopped, cordoned"}
    assert call("workers", "drain", "nobody").code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("worker", "--region", "cn-shanghai"), "a worker needs a record in PostgreSQL"),
        (("run", "--role", "worker", "--region", "cn-shanghai"), "a worker needs a record in PostgreSQL"),
        (("run", "--role", "controller"), "--role controller needs a record in PostgreSQL"),
        (("run", "--role", "worker"), "a worker has a region"),
        (("run", "--region", "cn-shanghai"), "only a worker has a region"),
    ],
)
def test_a_process_that_cannot_share_the_work_is_refused(call: Calling, arguments: tuple[str, ...], said: str) -> None:
    reported = call(*arguments)
    assert reported.code == Exit.USAGE
    assert said in reported.err
