"""Models in several files and in one go live from every kind of registry with every webhook lost: polls find them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from syncd.client import Client

from tests.acceptance.stage import Cloud
from tests.servers.fleet import live_everywhere, prepared
from tests.servers.kinds import KINDS
from tests.servers.programs import minilm
from tests.servers.relay import Relay
from tests.servers.sources import Source
from tests.support.tensors import sharded


@pytest.fixture(scope="module")
def client(
    cloud: Cloud, sources: Mapping[str, Source], sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """Of a daemon that nobody tells anything."""
    topology = prepared(cloud, tmp_path_factory.mktemp("polling"), sqlite_template, sources.values(), 0.5)
    with topology.daemon() as (_, asked):
        yield asked


@pytest.mark.needs_minilm
@pytest.mark.parametrize("name", KINDS)
def test_models_go_live_with_every_webhook_lost(
    name: str, sources: Mapping[str, Source], client: Client, relay: Relay
) -> None:
    source, url = sources[name], relay.url(name)
    with source.telling(url):
        for number, model in enumerate((sharded(shards=3, tensors=4, size_bytes=1 << 18), minilm()), 1):
            version, files = source.bring(number, model)
            source.tell(url, version)
            release = live_everywhere(client, source.model, version, files)
            assert release.document["requested_by"] == f"watch {name}"
            relay.has_lost(name, number)
    assert relay.passed == []
