"""A model in several files goes live from every kind of registry with every webhook lost: the polls find it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from syncd.client import Client

from tests.acceptance.stage import Cloud
from tests.servers.fleet import live_everywhere, prepared
from tests.servers.kinds import KINDS
from tests.servers.relay import Relay
from tests.servers.sources import Source
from tests.tensors import sharded


@pytest.fixture(scope="module")
def client(
    cloud: Cloud, sources: Mapping[str, Source], sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """Of a daemon that nobody tells anything."""
    fleet = prepared(cloud, tmp_path_factory.mktemp("polling"), sqlite_template, sources.values(), 0.5)
    with fleet.daemon() as (_, asked):
        yield asked


@pytest.mark.parametrize("name", KINDS)
def test_a_model_goes_live_with_every_webhook_lost(
    name: str, sources: Mapping[str, Source], client: Client, relay: Relay
) -> None:
    source, url = sources[name], relay.url(name)
    with source.telling(url):
        version, files = source.bring(1, sharded(shards=3, tensors=4, size_bytes=1 << 18))
        source.tell(url, version)
        release = live_everywhere(client, source.model, version, files)
        relay.has_lost(name)
    assert release.document["requested_by"] == f"watch {name}"
    assert relay.passed == []
