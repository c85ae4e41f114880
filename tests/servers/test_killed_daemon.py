"""The daemon is killed while MLflow tells of versions, or is away for longer than MLflow tries: they arrive."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

import pytest
from syncd.state.access import deliveries
from syncd.state.state import State

from tests.acceptance.stage import Cloud, until
from tests.servers.fleet import HOUR_S, live_everywhere, prepared
from tests.servers.mlflow import Mlflow
from tests.servers.relay import Relay
from tests.servers.sources import MlflowSource
from tests.support.tensors import sharded

TRIES: Final = 4  # of MLflow, within seven seconds; then it forgets


@pytest.mark.needs_mlflow
def test_a_version_arrives_though_the_daemon_is_killed_when_it_is_told_or_before(
    mlflow: Mlflow, cloud: Cloud, relay: Relay, sqlite_template: Path, tmp_path: Path
) -> None:
    source = MlflowSource(mlflow, "killed-meanwhile")
    topology = prepared(cloud, tmp_path, sqlite_template, [source], HOUR_S)
    first, second, third = (sharded(shards=2, tensors=2, size_bytes=1000 + number) for number in range(3))
    with source.telling(relay.url(source.name)):
        with topology.daemon() as (daemon, client):
            relay.to = client.server
            live_everywhere(client, source.model, *source.bring(1, first))
            relay.passed.clear()
            told, has = source.bring(2, second)
            until(lambda: relay.passed, "the event of the second version to be taken")
            daemon.stop(signal.SIGKILL)
        with topology.daemon() as (daemon, client):
            live_everywhere(client, source.model, told, has)
            daemon.stop(signal.SIGKILL)
        relay.lost.clear()
        missed, has = source.bring(3, third)
        until(lambda: len(relay.lost) >= TRIES, "MLflow to give up")
    with topology.daemon() as (_, client):
        live_everywhere(client, source.model, missed, has)
        assert [each.version for each in client.releases(source.model)] == [missed, told, "1"]
    state = State(f"sqlite:///{tmp_path / 'syncd.db'}")
    with state.read() as conn:
        assert not deliveries.is_waiting(conn, source.name)
    state.close()
