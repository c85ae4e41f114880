"""Models in one file and in several go live from every kind of registry as soon as a webhook tells of them.

Polls are hours away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from syncd.client import Client

from tests.acceptance.stage import Cloud
from tests.servers.fleet import HOUR_S, live_everywhere, prepared
from tests.servers.kinds import KINDS
from tests.servers.programs import minilm
from tests.servers.relay import Relay
from tests.servers.sources import Source
from tests.support.tensors import sharded


@pytest.fixture(scope="module")
def client(
    cloud: Cloud,
    relay: Relay,
    sources: Mapping[str, Source],
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Client]:
    """Of a daemon that is told of what happens in all of them."""
    topology = prepared(cloud, tmp_path_factory.mktemp("told"), sqlite_template, sources.values(), HOUR_S)
    with topology.daemon() as (_, asked):
        relay.to = asked.server
        yield asked


@pytest.mark.needs_minilm
@pytest.mark.parametrize("name", KINDS)
def test_models_go_live_when_a_webhook_tells_of_them(
    name: str, sources: Mapping[str, Source], client: Client, relay: Relay
) -> None:
    source, url = sources[name], relay.url(name)
    with source.telling(url):
        for number, model in enumerate((minilm(), sharded(shards=3, tensors=4, size_bytes=1 << 18)), 1):
            version, files = source.bring(number, model)
            source.tell(url, version)
            release = live_everywhere(client, source.model, version, files)
            assert release.document["requested_by"] == f"watch {name}"
    assert {status for path, status in relay.passed if path == f"/hooks/{name}"} == {202}
    assert relay.lost == []
