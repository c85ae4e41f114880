"""`syncd bake`: a registry's version becomes an image, also after the command was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.relay import Relay
from syncd.cli.upload.directory import upload_directory
from syncd.cli.upload.source_directory import scan

from tests.emulators.acr import INSTANCE, Acr
from tests.emulators.distribution import PASSWORD, USER, Distribution, distribution
from tests.emulators.relay import image_relay
from tests.emulators.web import Reply, Request
from tests.support.sources import content
from tests.unit.cli.calling import Calling
from tests.unit.oci.kitchen import BASE, push_base

CHUNK_BYTES = 16 << 20
REQUESTS_BYTES = 1 << 18  # headers, tokens, manifests, the small layers


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Distribution]:
    (tmp_path / "images").mkdir()
    with distribution(tmp_path / "images", "htpasswd") as made:
        push_base(made)
        yield made


def offer(call: Calling, version: str, **files: bytes) -> None:
    """Put a version into the registry of models."""
    source = call.home / f"source-{version}"
    source.mkdir()
    for name, data in files.items():
        (source / name).write_bytes(data)
    upload_directory(source, scan(source).files, call.home / "registry/m" / version)


def arguments(origin: str, *more: str, version: str = "v1") -> tuple[str, ...]:
    host = origin.removeprefix("http://")
    return ("bake", f"m@{version}", "--to", f"{host}/team/m", "--base", f"{host}/{BASE}:1.0", "--user", USER, *more)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_IMAGE_PASSWORD", PASSWORD)


@pytest.mark.needs_docker_registry
@pytest.mark.usefixtures("known")
def test_a_version_becomes_an_image_and_again_nothing_is_sent(call: Calling, registry: Distribution) -> None:
    offer(call, "v1", weights=content("w", 100_000), config=b"{}")
    first = call(*arguments(registry.origin, "-o", "json"))
    assert first.code == 0, first.err
    document = first.document
    assert document["image"].endswith(f"/team/m:{document['tag']}@{document['digest']}")
    assert document["tag"] == f"m-v1-{document['digest'][7:19]}"
    assert [(each["title"], each["how"]) for each in document["layers"]][1:] == [
        ("2 files", "pushed"),
        (".syncd/manifest.json", "pushed"),
    ]
    assert registry.tags("team/m") == [document["tag"]]
    again = call(*arguments(registry.origin, "-o", "json"))
    assert again.document["image"] == document["image"]
    assert again.document["bytes_sent"] == 0


@pytest.mark.needs_docker_registry
@pytest.mark.usefixtures("known")
def test_people_are_shown_the_layers_and_the_name_of_the_image(call: Calling, registry: Distribution) -> None:
    offer(call, "v1", config=b"{}")
    reported = call(*arguments(registry.origin))
    assert reported.code == 0, reported.err
    lines = reported.out.splitlines()
    assert lines[0].split() == ["LAYER", "SIZE", "HOW", "SENT"]
    assert "base layer" in lines[1]
    assert lines[-1].startswith(f"{registry.origin.removeprefix('http://')}/team/m:m-v1-")


@pytest.mark.needs_docker_registry
@pytest.mark.usefixtures("known")
def test_a_version_that_shows_other_bytes_later_is_not_baked(call: Calling, registry: Distribution) -> None:
    offer(call, "v1", config=b"{}")
    assert call(*arguments(registry.origin)).code == 0
    listed = call.home / "registry/m/v1"
    (listed / "config").write_bytes(b"[]")
    (listed / "SHA256SUMS").unlink()
    (listed / "READY").write_bytes(b"")
    reported = call(*arguments(registry.origin, "--directory", "/other"))
    assert reported.code in {8, 9}
    assert len(registry.tags("team/m")) == 1


@pytest.mark.needs_docker_registry
@pytest.mark.usefixtures("known")
def test_a_bake_that_was_killed_goes_on_and_sends_at_most_one_chunk_again(
    call: Calling, registry: Distribution
) -> None:
    size_bytes = 4 * CHUNK_BYTES
    offer(call, "v1", weights=content("w", size_bytes))
    command = [sys.executable, "-m", "syncd"]
    with image_relay(registry.origin, keeps_state=True) as relay:
        process = subprocess.Popen([*command, *arguments(relay.origin)], stdout=subprocess.DEVNULL)
        handed_on = threading.Event()

        def kill(request: Request) -> Reply | None:
            """While the third chunk is on its way; what stands in front of the registry hands it on all the same."""
            if len(request.body) < CHUNK_BYTES or relay.sent["PATCH"] < 2 * CHUNK_BYTES:
                return None
            os.kill(process.pid, signal.SIGKILL)
            reply = relay.forward(request)
            handed_on.set()
            return reply

        relay.web.faults.append(kill)
        assert process.wait() == -signal.SIGKILL
        assert handed_on.wait(30)
        relay.web.faults.clear()
        assert registry.tags("team/m") == []
        reported = call(*arguments(relay.origin, "-o", "json"))
        assert reported.code == 0, reported.err
        assert relay.sent["PATCH"] <= size_bytes + CHUNK_BYTES
    assert reported.document["layers"][1]["bytes_sent"] < 2 * CHUNK_BYTES


@pytest.mark.needs_docker_registry
@pytest.mark.usefixtures("known")
def test_a_bake_killed_in_the_middle_of_a_chunk_sends_at_most_one_again_to_docker_registry(
    call: Calling, tmp_path: Path
) -> None:
    """With nothing in front of it but a line whose bytes are counted: it would lose what a broken request left."""
    size_bytes = 3 * CHUNK_BYTES
    offer(call, "v1", weights=content("w", size_bytes))
    (tmp_path / "tokens").mkdir()
    with distribution(tmp_path / "tokens", "token") as house:
        push_base(house)
        killed: list[subprocess.Popen[bytes]] = []

        def kill() -> None:
            killed[0].kill()

        with Relay(int(house.origin.rpartition(":")[2]), 100_000_000, (1.5 * CHUNK_BYTES, kill)) as line:
            given = arguments(line.endpoint)
            killed.append(subprocess.Popen([sys.executable, "-m", "syncd", *given], stdout=subprocess.DEVNULL))
            assert killed[0].wait() == -signal.SIGKILL
            reported = call(*given, "-o", "json")
            assert reported.code == 0, reported.err
            assert line.passed_bytes <= size_bytes + CHUNK_BYTES + REQUESTS_BYTES
            assert reported.document["layers"][1]["bytes_sent"] <= 2 * CHUNK_BYTES


@pytest.mark.parametrize(
    ("changed", "code", "why"),
    [
        ({"--to": "team/m"}, 2, "has no registry"),
        ({"--to": "127.0.0.1:9/team/m:v1"}, 2, "expected a repository, got a tag"),
        ({"--base": "server"}, 2, "has no registry"),
        ({"--directory": "models"}, 2, "expected a directory below the root"),
        ({"--directory": "/a/../b"}, 2, "expected a directory below the root"),
        ({"--directory": "/"}, 2, "expected a directory below the root"),
        ({"--limit": "0"}, 2, "--limit"),
        ({}, 3, "no version"),
    ],
)
@pytest.mark.usefixtures("known")
def test_a_bake_that_cannot_succeed_is_refused(call: Calling, changed: dict[str, str], code: int, why: str) -> None:
    given = {"--to": "127.0.0.1:9/team/m", "--base": "127.0.0.1:9/base:1", "--user": USER} | changed
    reported = call("bake", "m@v9", *(word for pair in given.items() for word in pair))
    assert (reported.code, why in reported.err or "v9" in reported.err) == (code, True), reported.err


def known_at(call: Calling, acr: Acr, *registries: Distribution) -> None:
    """Let the configuration have these registries of images, each with that instance for its passwords."""
    call.change(f'path = "{call.home}/registry"', f'path = "{call.home}/registry"\nmodels = ["m"]')
    login = f'{{ instance = "{INSTANCE}", region = "cn-shanghai", credentials = "key", api = "{acr.web.origin}" }}'
    reported = [
        f'[registries.i{n}]\nkind = "oci"\nendpoint = "{each.origin}"\nmodels = ["other/{n}"]\nacr = {login}\n'
        for n, each in enumerate(registries)
    ]
    call.config.write_text("\n".join([call.config.read_text(), *reported]))


@pytest.mark.needs_docker_registry
def test_where_no_user_is_given_the_login_is_that_of_the_configured_registry_at_the_address(
    call: Calling, tmp_path: Path
) -> None:
    offer(call, "v1", config=b"{}")
    acr = Acr(USER, (PASSWORD,), secret="calling-secret-of-a-test")
    with acr.web, distribution(tmp_path, "token") as house:
        push_base(house)
        words = [word for word in arguments(house.origin, "-o", "json") if word not in {"--user", USER}]
        assert call(*words).code == 10
        known_at(call, acr, house)
        reported = call(*words)
        assert reported.code == 0, reported.err
        assert house.tags("team/m") == [reported.document["tag"]]
        assert acr.given == 1
        house.push("other/0", "v1", {"config": b"{}"})  # and there it is read too
        reported = call(*[word.replace("m@v1", "other/0@v1") for word in words])
        assert reported.code == 0, reported.err
    assert acr.given == 3


@pytest.mark.needs_docker_registry
def test_a_base_elsewhere_is_read_as_a_user_of_its_own_or_as_the_configuration_says(
    call: Calling, registry: Distribution, tmp_path: Path, known: None
) -> None:
    del known
    offer(call, "v1", config=b"{}")
    (tmp_path / "bases").mkdir()
    acr = Acr(USER, (PASSWORD,), secret="calling-secret-of-a-test")
    with acr.web, distribution(tmp_path / "bases", "token") as far:
        push_base(far)
        words = [
            word.replace(registry.origin[7:], far.origin[7:]) if BASE in word else word
            for word in arguments(registry.origin, "-o", "json")
        ]
        assert call(*words).code == 10
        call.patch.setenv("SYNCD_BASE_PASSWORD", PASSWORD)
        reported = call(*words, "--base-user", USER)
        assert reported.code == 0, reported.err
        assert reported.document["layers"][0]["how"] == "pushed"
        call.patch.delenv("SYNCD_BASE_PASSWORD")
        known_at(call, acr, far)
        assert call(*words).document["image"] == reported.document["image"]
    assert acr.given == 1


def test_half_a_login_is_refused(call: Calling, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = call(*arguments("http://127.0.0.1:9"))
    assert (reported.code, "a user is given and no password" in reported.err) == (2, True)
    monkeypatch.setenv("SYNCD_IMAGE_PASSWORD", "only-this")
    given = [word for word in arguments("http://127.0.0.1:9") if word not in {"--user", USER}]
    reported = call(*given)
    assert (reported.code, "a password is given and no user" in reported.err) == (2, True)
    assert "only-this" not in reported.out + reported.err
    monkeypatch.delenv("SYNCD_IMAGE_PASSWORD")
    reported = call(*given, "--base-user", USER)
    assert (reported.code, "a user is given and no password with --base-user" in reported.err) == (2, True)
