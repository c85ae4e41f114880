"""Versions that somebody approves in MLflow by a tag: polls find them, and they are released as MLflow tells of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from syncd.artifact.names import ModelName
from syncd.http.client import HttpClient, HttpSettings
from syncd.registry.rules.filtered import FilteredRegistry
from syncd.registry.rules.follow_rules import FollowRule, TagRule
from syncd.registry.settings import MlflowSettings
from syncd.registry.sources.mlflow import MlflowRegistry, explain
from syncd.values.source import Follow

from tests.acceptance.stage import Cloud, until
from tests.servers.fleet import HOUR_S, live_everywhere, prepared
from tests.servers.mlflow import Mlflow
from tests.servers.relay import Relay
from tests.servers.sources import MlflowSource
from tests.support.tensors import sharded

APPROVED = TagRule("validation_status", "approved")


class ApprovedSource(MlflowSource):
    """One whose versions have to be approved, and whose model has to be a team's."""

    @property
    def table(self) -> str:
        rule = 'tagged = "validation_status=approved", model_tagged = "team=risk*"'
        return f"{super().table}\nfollow = [{{ {rule} }}]"


@pytest.mark.needs_mlflow
def test_a_poll_follows_the_newest_version_that_has_the_tag(mlflow: Mlflow) -> None:
    model = ModelName("tagged-and-polled")
    numbers = [mlflow.register(model, {"MLmodel": b"flavors:"}) for _ in range(3)]
    http = HttpClient(HttpSettings(mlflow.origin), explain=explain)
    settings = MlflowSettings(mlflow.origin, (model,), model_tags=True)
    rule = FollowRule((model,), tagged=APPROVED, model_tagged=TagRule("team", "*"))
    registry = FilteredRegistry(MlflowRegistry(settings, http), [rule])

    def followed() -> list[str]:
        return [each.version for each in registry.discover(model) if each.follow is Follow.ONCE]

    mlflow.tag(model, numbers[2], "validation_status", "pending")
    for number in numbers[:2]:
        mlflow.tag(model, number, "validation_status", "approved")
    assert followed() == []
    mlflow.tag_model(model, "team", "risk & \u00e9quipe\n2")
    assert followed() == numbers[:2]
    mlflow.tag(model, numbers[2], "validation_status", "approved")
    assert followed() == numbers


@pytest.mark.needs_mlflow
def test_a_tag_that_mlflow_tells_of_releases_the_version_and_no_other_tag_does(
    mlflow: Mlflow, cloud: Cloud, relay: Relay, sqlite_template: Path, tmp_path: Path
) -> None:
    source = ApprovedSource(mlflow, "approved-by-tag")
    topology = prepared(cloud, tmp_path, sqlite_template, [source], HOUR_S)
    with topology.daemon() as (daemon, client), source.telling(relay.url(source.name)):
        relay.to = client.server
        version, files = source.bring(1, sharded(shards=2, tensors=2, size_bytes=1000))
        mlflow.tag_model(source.model, "team", "risk-3")
        mlflow.tag(source.model, version, "validation_status", "rejected")
        until(lambda: len(relay.passed) == 2, "both events to be taken")  # of the version and of its tag
        until(lambda: sum(e["deliveries"] for e in daemon.events("webhook.polled")) == 2, "the polls")
        assert client.releases(source.model) == []
        mlflow.tag(source.model, version, "validation_status", "approved")
        live_everywhere(client, source.model, version, files)
