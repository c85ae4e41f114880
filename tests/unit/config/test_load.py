"""Promises of the loader beside its messages."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from syncd.artifact.digest import Digest
from syncd.artifact.names import VERSION_MAX
from syncd.config import (
    Config,
    ConfigProblems,
    DirectoryRegistrySettings,
    ImageTargetSettings,
    Problem,
    load,
    warnings,
)
from syncd.errors import Invalid
from syncd.oci.build import LIMIT_BYTES
from syncd.plan.binding import InImage, MountMode, Serving, change_for
from syncd.plan.topology import BasePolicy, BaseWatch, Replica
from syncd.secret import MASK
from syncd.state.state import State
from syncd.wiring import context_of, targets_of, topology_of
from syncd.wiring_images import images_of

FIXTURES = Path(__file__).parents[2] / "config"
ENVIRON = {"SYNCD_OSS_SECRET": "hunter2"}

LoadText = Callable[[str], Config]


@pytest.fixture
def load_text(tmp_path: Path) -> LoadText:
    def load_it(text: str) -> Config:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return load(path, ENVIRON)

    return load_it


def local_cloud() -> Config:
    return load(FIXTURES / "local-cloud.good.toml", ENVIRON)


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblems, match=r"no readable file at .*: No such file or directory"):
        load(tmp_path / "config.toml", {})


def test_problems_are_invalid_so_that_a_person_is_asked(load_text: LoadText) -> None:
    with pytest.raises(Invalid) as refusal:
        load_text("[state]\nurl = 5\n")
    assert isinstance(refusal.value, ConfigProblems)
    (problem,) = refusal.value.problems
    assert (problem.key, problem.found) == ("state.url", "5")


def test_values_are_frozen() -> None:
    config = local_cloud()
    with pytest.raises(ValidationError):
        config.policy.tick_s = 5.0


def test_what_is_not_set_has_its_default(load_text: LoadText) -> None:
    config = load_text("")
    assert config.policy.step_failures_max == 20
    assert config.transfer.buffer_bytes == 40 << 20
    assert dict(config.targets) == {}


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ('"64MiB"', 64 << 20),
        ('"1 GiB"', 1 << 30),
        ('"100MB"', 100_000_000),
        ('"67108864"', 64 << 20),
        ("67_108_864", 64 << 20),
    ],
)
def test_sizes_are_read_with_their_units(load_text: LoadText, text: str, size_bytes: int) -> None:
    assert load_text(f"[transfer]\nbuffer_bytes = {text}\n").transfer.buffer_bytes == size_bytes


@pytest.mark.parametrize("text", ["true", '"1.5GiB"', '"-1MiB"', '"64mib"', "[]", '""'])
def test_sizes_that_are_none_are_refused(load_text: LoadText, text: str) -> None:
    with pytest.raises(ConfigProblems, match=r"transfer\.buffer_bytes: expected a size .*, got "):
        load_text(f"[transfer]\nbuffer_bytes = {text}\n")


def test_a_refused_table_does_not_make_names_of_it_dangle(load_text: LoadText) -> None:
    text = (FIXTURES / "local-cloud.good.toml").read_text().replace('path = "/tmp/syncd-demo/nas"', "")
    with pytest.raises(ConfigProblems) as refusal:
        load_text(text.replace('bucket = "models"', 'bucket = "M"'))
    assert {problem.key for problem in refusal.value.problems} == {
        "targets.hangzhou.bucket",
        "targets.singapore.bucket",
        "targets.hangzhou-b.bucket",
        "targets.shanghai.path",
    }


def test_keys_that_need_quotes_are_shown_with_them(load_text: LoadText) -> None:
    with pytest.raises(ConfigProblems, match=r'targets\."a\.b"\.kind: expected .*, got nothing'):
        load_text('[targets."a.b"]\n')


def test_lookups_follow_the_bindings() -> None:
    config = local_cloud()
    assert config.models() == ("minilm", "team/a", "team/b")
    assert config.registry_of("team/zzz") == "local"
    assert config.registry_of("zzz") is None
    registry = config.registries["local"]
    assert isinstance(registry, DirectoryRegistrySettings)
    assert registry.directory.root == Path("/tmp/syncd-demo/models")


def test_the_secrets_of_a_configuration_are_all_of_them() -> None:
    assert [secret.reveal() for secret in local_cloud().secrets()] == ["hunter2"]
    assert len(load(FIXTURES / "postgres.good.toml", ENVIRON).secrets()) == 1


def test_no_secret_is_in_what_a_configuration_prints() -> None:
    for config in (local_cloud(), load(FIXTURES / "postgres.good.toml", ENVIRON)):
        for text in (repr(config), str(config.credentials), str(config.state), str(config.state.connect_url)):
            assert "hunter2" not in text
        assert "hunter2" not in "".join(c.model_dump_json() for c in config.credentials.values())
    assert MASK in local_cloud().credentials["local"].model_dump_json()
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(local_cloud().credentials["local"])


def test_the_database_is_reached_with_its_password() -> None:
    url = load(FIXTURES / "postgres.good.toml", {"SYNCD_OSS_SECRET": "p@ss/w:rd"}).state.connect_url
    assert url.password == "p@ss/w:rd"
    assert (
        url.render_as_string(hide_password=False) == "postgresql+psycopg://syncd:p%40ss%2Fw%3Ard@db.internal:5432/syncd"
    )
    assert local_cloud().state.connect_url.database == "/tmp/syncd-demo/syncd.db"


def test_models_served_nowhere_and_models_of_no_registry_are_warned_of(load_text: LoadText) -> None:
    text = (FIXTURES / "local-cloud.good.toml").read_text()
    config = load_text(text.replace('models = ["minilm", "team/*"]', 'models = ["unserved", "team/*"]'))
    assert warnings(config) == (
        Problem("registries.local.models[0]", '"unserved"', "no binding serves such a model, so it is never released"),
        Problem(
            "bindings.embed.models[0].model",
            '"minilm"',
            "no registry has such a model, so only `syncd publish --from` can bring it",
        ),
    )


def test_the_check_reckons_variables_as_the_change_is_made() -> None:
    """With the longest version names, as many models pass the check as a change can be made for, and no more."""
    config = load(FIXTURES / "seventeen-models-on-one-root.good.toml", ENVIRON)
    topology = topology_of(config)
    longest = "v" * VERSION_MAX
    names = [f"checkpoint-{number:02}" for number in range(18)]
    serves = {n: Serving(longest, Digest("0" * 64), f"models/{n}/{longest}-{'0' * 12}") for n in names}
    change = change_for(topology.bindings["b"], topology.places, serves)
    assert set(json.loads(change.environment["SYNCD_MODELS"])) == set(names[:17])
    bound = topology.bindings["b"].models
    one_more = replace(topology.bindings["b"], models=(*bound, replace(bound[0], model=names[17])))
    with pytest.raises(Invalid, match="4315 of 4096"):
        change_for(one_more, topology.places, serves)
    assert "may need 4315 bytes" in (FIXTURES / "variables-past-4-kb.bad.txt").read_text()


def test_an_image_target_allows_what_a_manual_bake_allows_by_default() -> None:
    assert ImageTargetSettings.model_fields["limit_bytes"].default == LIMIT_BYTES


def test_a_target_of_images_is_wired_with_what_functions_call_it_and_how_large_it_may_get() -> None:
    config = load(FIXTURES / "images.good.toml", {"SYNCD_OSS_SECRET": "hunter2"})
    made, topology = images_of(config), topology_of(config)
    assert made.keys() == topology.images == {"here", "there"}
    assert topology.places.keys() == targets_of(config).keys() == {"bucket"}
    there = made["there"]
    assert there.repository == "registry.cn-shanghai.aliyuncs.com/team/sdxl"
    assert there.settings.served_from == "registry-vpc.cn-shanghai.aliyuncs.com/team/sdxl"
    assert there.settings.bake.limit_bytes == 10_000_000_000
    assert made["here"].settings.served_from == "127.0.0.1:5000/team/sdxl"
    assert made["here"].settings.base.tag == "latest"
    assert [bound.mode for bound in topology.bindings["hz"].models] == [MountMode.IMAGE, MountMode.VERSION]
    assert len(config.secrets()) == 2


def test_images_are_pushed_by_the_same_limit_as_all_else_is_sent(tmp_path: Path) -> None:
    config = load(FIXTURES / "images.good.toml", {"SYNCD_OSS_SECRET": "hunter2"})
    assert context_of(config, State(f"sqlite:///{tmp_path}/none.db")).transfer.bandwidth is None, "it has no limit"
    config = replace(config, transfer=config.transfer.model_copy(update={"bandwidth": 1 << 20}))
    context = context_of(config, State(f"sqlite:///{tmp_path}/record.db"))
    assert context.transfer.bandwidth is not None
    assert {id(image.settings.bake.pace) for image in context.images.values()} == {id(context.transfer.bandwidth)}


def test_a_process_does_without_the_sdk_of_functions_until_one_is_asked(tmp_path: Path) -> None:
    """It takes more memory than a copy has to spare."""
    code = """
import sys
from pathlib import Path
from syncd.config import load
from syncd.state.state import State
from syncd.wiring import context_of
config = load(Path(sys.argv[1]), {"SYNCD_OSS_SECRET": "hunter2"})
rooms = context_of(config, State(sys.argv[2]))
names = sorted(rooms.runtimes)
print(names == sorted(config.runtimes) != [], "alibabacloud_fc20230330" in sys.modules)
rooms.runtimes[names[0]]
print("alibabacloud_fc20230330" in sys.modules)
"""
    given = [str(FIXTURES / "local-cloud.good.toml"), f"sqlite:///{tmp_path}/record.db"]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=False)
    assert done.stdout == "True False\nTrue\n", done


def test_bases_that_are_watched_and_images_that_are_replicated_are_part_of_the_fleet() -> None:
    config = load(FIXTURES / "images-watched.good.toml", {"SYNCD_OSS_SECRET": "hunter2"})
    made, topology = images_of(config), topology_of(config)
    assert topology.watched == {
        "here": BaseWatch(BasePolicy.REBUILD, 600.0),
        "alone": BaseWatch(BasePolicy.REPORT, 3600.0),
    }
    assert topology.replicas == {"there": Replica("here", 3600.0)}
    assert made["there"].settings.base == made["here"].settings.base
    assert made["there"].repository == "registry.cn-shanghai.aliyuncs.com/team/sdxl"


def test_a_model_in_an_image_has_variables_and_no_mount() -> None:
    topology = topology_of(load(FIXTURES / "images.good.toml", {"SYNCD_OSS_SECRET": "hunter2"}))
    baked = InImage("127.0.0.1:5000/team/sdxl:t@sha256:0", "/models/sdxl")
    digest = Digest("a" * 64)
    serving = Serving("v1", digest, "models/sdxl/v1", {"here": baked})
    change = change_for(
        topology.bindings["hz"], topology.places, {"sdxl": serving, "lora": Serving("v2", digest, "m/l/v2")}
    )
    assert change.image == baked.reference
    assert [mount.mount_dir for mount in change.mounts] == ["/mnt/lora"]
    assert change.environment == {"SDXL_DIGEST": "a" * 64, "SDXL_PATH": "/models/sdxl"}
    with pytest.raises(Invalid, match="sdxl@v1 has no image at here"):
        change_for(topology.bindings["hz"], topology.places, {"sdxl": replace(serving, images={})})


SAFETY = """
[[policy.strategies]]
models = ["minilm", "miniml-*"]
steps = ["10% 5m"]

[[policy.freeze_times]]
from = "fri 18:00"
to = "mon 08:00"
models = ["minlm", "*"]
"""


def test_safety_settings_that_fit_no_model_are_warned_of(load_text: LoadText) -> None:
    text = (FIXTURES / "local-cloud.good.toml").read_text()
    text += '[policy]\napproval = ["minilmm", "minilm", "*"]\n' + SAFETY
    found = [problem for problem in warnings(load_text(text)) if problem.key.startswith("policy.")]
    assert [problem.key for problem in found] == [
        "policy.approval[0]",
        "policy.strategies[0].models[1]",
        "policy.freeze_times[0].models[0]",
    ]
    assert str(found[0]) == (
        'policy.approval[0]: got "minilmm"; no binding serves such a model, so nobody is asked for it; '
        'did you mean "minilm"?'
    )


def test_a_follow_rule_that_fits_no_served_model_is_warned_of(load_text: LoadText) -> None:
    text = (FIXTURES / "local-cloud.good.toml").read_text()
    marked = "\n[[registries.local.follow]]\n" + 'models = ["team/nobody"]\nalias = "prod"\n'
    found = [problem.key for problem in warnings(load_text(text + marked))]
    assert "registries.local.follow[0].models[0]" in found


NOTIFY = """
[notify.chat]
kind = "slack"
url = { env = "SYNCD_OSS_SECRET" }
secret = { env = "SYNCD_OSS_SECRET" }
models = ["minilm", "nobody/*"]
events = ["release.*", "releases.live", "release.stuck"]

[policy.trust]
mode = "warn"

[[policy.trust.rules]]
models = ["minilm", "elsewhere/*"]
mode = "enforce"
"""


def test_notifiers_and_trust_rules_that_select_nothing_are_warned_of(load_text: LoadText) -> None:
    text = (FIXTURES / "local-cloud.good.toml").read_text()
    found = [str(each) for each in warnings(load_text(text + NOTIFY)) if each.key.startswith(("notify.", "policy."))]
    assert found == [
        'policy.trust.rules[0].models[1]: got "elsewhere/*"; no binding serves such a model, so the rule is never used',
        'notify.chat.models[1]: got "nobody/*"; no binding serves such a model, so nothing is sent about it',
        (
            'notify.chat.events[1]: got "releases.live"; no notification has such a kind, so it selects nothing; '
            'did you mean "release.live"?'
        ),
        (
            'notify.chat.events[2]: got "release.stuck"; no notification has such a kind, so it selects nothing; '
            'did you mean "release.stalled"?'
        ),
        "notify.chat.secret: got a secret; leave it out: slack verifies no signature",
    ]


def test_an_empty_configuration_is_warned_of(load_text: LoadText) -> None:
    (problem,) = warnings(load_text(""))
    assert str(problem).startswith("got an empty configuration; nothing is ever released: `syncd config init`")


@pytest.mark.parametrize(
    ("text", "expected", "hint"),
    [
        ("[policy]\ntic_s = 1.0", "a setting of this table", 'did you mean "tick_s"?'),
        ("[policy]\ntick_s = 0.0", "more than 0", ""),
        ("[transfer]\nsources = ['nowhere', 'registry']", "a name among the targets of this file", "no such target"),
    ],
)
def test_a_problem_as_json_has_all_five_keys(load_text: LoadText, text: str, expected: str, hint: str) -> None:
    with pytest.raises(ConfigProblems) as refused:
        load_text(text)
    (problem,) = refused.value.problems
    found = problem.as_json("config.toml")
    assert refused.value.details == {"problems": [found]}
    assert list(found) == ["file", "key", "expected", "got", "hint"]
    assert (found["expected"].startswith(expected[:8]), hint in found["hint"]) == (True, True), found


def test_a_setting_that_was_refused_causes_no_second_problem(load_text: LoadText) -> None:
    """The default that stands for it would be judged instead."""
    for text in (
        '[policy]\ntick_s = "60"\nlease_s = 5.0',
        '[policy]\nlease_s = "x"\ntick_s = 30.0',
        '[state]\nurl = "postgres:/x"\npassword = { env = "SYNCD_OSS_SECRET" }',
        '[transfer]\nbuffer_bytes = "1"\nparts_in_flight = 64',
    ):
        with pytest.raises(ConfigProblems) as refused:
            load_text(text)
        assert len(refused.value.problems) == 1, refused.value.message
