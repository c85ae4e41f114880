"""Versions and aliases against a model; arbitrary inputs are accepted or refused with an FcError."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from syncd.localcloud.fc.errors import FcError
from syncd.localcloud.fc.functions import operations
from syncd.localcloud.fc.functions.operations import Settings
from syncd.localcloud.fc.functions.records import FunctionRecord, Preparation, from_json, function_view, to_json

STRICT = Settings(create_s=0, update_s=0)
REQUEST = {
    "functionName": "f",
    "runtime": "custom-container",
    "handler": "h",
    "customContainerConfig": {"image": "r/x:1"},
}
RELEASES = st.sampled_from("abc")
IDS = st.integers(min_value=1, max_value=9).map(str)
ALIASES = st.sampled_from(["prod", "candidate"])
WEIGHTS = st.none() | st.dictionaries(IDS, st.sampled_from([0, 0.25, 1]), max_size=1)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


WHOLE: dict[str, Any] = {
    **REQUEST,
    "role": "r",
    "vpcConfig": {"vpcId": "v"},
    "cpu": 1,
    "instanceConcurrency": 1,
    "environmentVariables": {"A": "1"},
    "customContainerConfig": {
        "image": "r/x:1",
        "port": 9000,
        "entrypoint": ["x"],
        "command": ["x"],
        "healthCheckConfig": {"httpGetUrl": "/h", "periodSeconds": 3},
        "registryConfig": {"authConfig": {"userName": "u"}},
    },
    "ossMountConfig": {"mountPoints": [{"bucketName": "b", "bucketPath": "/v", "endpoint": "x", "mountDir": "/a"}]},
    "nasConfig": {"mountPoints": [{"serverAddr": "h:/p", "mountDir": "/b"}]},
    "instanceLifecycleConfig": {"initializer": {"handler": "h", "command": ["x"], "timeout": 3}},
    "layers": ["arn"],
    "tags": [{"Key": "k", "Value": "v"}],
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything inside a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    here = [path] if path else []
    return here + [place for key, one in inner for place in places(one, (*path, key))]


def with_odd(path: tuple[Any, ...], odd: Any) -> Any:
    """The whole document with something else in one place."""
    document = copy.deepcopy(WHOLE)
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = odd
    return document


class Releases(RuleBasedStateMachine):
    """What was published stays as it was, numbers only grow, and aliases point to what they were set to."""

    @initialize()
    def make(self) -> None:
        self.now_s = 1000.0
        self.record = operations.create(REQUEST, Preparation(), self.now_s, STRICT)
        self.latest: str | None = None
        self.published: str | None = "never"
        self.count = 0
        self.versions: dict[str, str | None] = {}
        self.aliases: dict[str, tuple[str, dict[str, float]]] = {}

    def attempt(self, change: Any) -> str:
        """Apply a change; returns the code of its refusal, '' when it was made."""
        self.now_s += 1
        try:
            self.record = change(self.record)
        except FcError as refusal:
            return refusal.code
        return ""

    @rule(release=RELEASES)
    def update(self, release: str) -> None:
        request = {"environmentVariables": {"RELEASE": release}}
        assert self.attempt(lambda r: operations.update(r, request, Preparation(), self.now_s, STRICT)) == ""
        self.latest = release

    @rule()
    def publish(self) -> None:
        code = self.attempt(lambda r: operations.publish(r, "", self.now_s, STRICT))
        assert (code == "VersionPublishError") is (self.latest == self.published)
        if not code:
            self.count += 1
            self.versions[str(self.count)] = self.published = self.latest

    @rule(version=IDS)
    def delete_version(self, version: str) -> None:
        code = self.attempt(lambda r: operations.delete_version(r, version))
        assert (code == "") is (version in self.versions)
        self.versions.pop(version, None)

    @rule(name=ALIASES, version=IDS, weights=WEIGHTS)
    def create_alias(self, name: str, version: str, weights: dict[str, float] | None) -> None:
        request = {"aliasName": name, "versionId": version, "additionalVersionWeight": weights}
        code = self.attempt(lambda r: operations.create_alias(r, request, self.now_s, STRICT))
        wanted = (version, weights or {})
        assert (code == "") is (name not in self.aliases and self.may_be(*wanted))
        if not code:
            self.aliases[name] = wanted

    @rule(name=ALIASES, version=st.none() | IDS, weights=WEIGHTS)
    def update_alias(self, name: str, version: str | None, weights: dict[str, float] | None) -> None:
        request = {"versionId": version, "additionalVersionWeight": weights}
        code = self.attempt(lambda r: operations.update_alias(r, name, request, self.now_s, STRICT))
        if name not in self.aliases:
            assert code == "AliasNotFound"
            return
        before = self.aliases[name]
        wanted = (version or before[0], before[1] if weights is None else weights)
        assert (code == "") is self.may_be(*wanted)
        if not code:
            self.aliases[name] = wanted

    @rule(name=ALIASES)
    def delete_alias(self, name: str) -> None:
        code = self.attempt(lambda r: operations.delete_alias(r, name))
        assert (code == "") is (self.aliases.pop(name, None) is not None)

    @rule(name=ALIASES, chance=st.sampled_from([0.0, 0.2, 0.25, 0.99]))
    def call(self, name: str, chance: float) -> None:
        if name not in self.aliases:
            return
        main, weights = self.aliases[name]
        version = next((v for v, weight in weights.items() if chance < weight), main)
        if version not in self.versions:
            with pytest.raises(FcError, match="VersionNotFound"):
                operations.resolve(self.record, name, chance, self.now_s)
            return
        resolved = operations.resolve(self.record, name, chance, self.now_s)
        assert resolved.version_id == version
        variables = resolved.running.config["environmentVariables"]
        assert variables.get("RELEASE") == self.versions[version]

    def may_be(self, version: str, weights: dict[str, float]) -> bool:
        return version not in weights and {version, *weights} <= self.versions.keys()

    @invariant()
    def versions_are_as_published(self) -> None:
        if not hasattr(self, "record"):
            return
        kept = {k: v.running.config["environmentVariables"].get("RELEASE") for k, v in self.record.versions.items()}
        assert kept == self.versions

    @invariant()
    def disk_gives_back_what_it_was_given(self) -> None:
        if hasattr(self, "record"):
            assert from_json(json.loads(json.dumps(to_json(self.record)))) == self.record


TestReleases = Releases.TestCase
TestReleases.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=500, deadline=None)
@given(path=st.sampled_from(places(WHOLE)), odd=JSON)
def test_an_input_of_any_shape_is_taken_or_refused(path: tuple[Any, ...], odd: Any) -> None:
    request = with_odd(path, odd)
    record = made(lambda: operations.create(request, Preparation(), 0, STRICT))
    if record is not None:
        assert json.loads(json.dumps(function_view(record, "arn", 0)))["functionName"] == record.name


@settings(max_examples=200, deadline=None)
@given(value=JSON, name=JSON, weights=JSON | st.dictionaries(IDS, JSON, max_size=2))
def test_an_alias_of_any_shape_is_taken_or_refused(value: Any, name: Any, weights: Any) -> None:
    before = operations.publish(operations.create(REQUEST, Preparation(), 0, STRICT), "", 0, STRICT)
    request = {"aliasName": name or "prod", "versionId": value or "1", "additionalVersionWeight": weights}
    record = made(lambda: operations.create_alias(before, request, 0, STRICT))
    assert record is None or list(record.aliases) == [str(request["aliasName"])]


def made(call: Callable[[], FunctionRecord]) -> FunctionRecord | None:
    """What the call makes, None when it refuses in the service's own words; anything else is a bug."""
    try:
        return call()
    except FcError:
        return None
