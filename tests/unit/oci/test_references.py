"""Image names are parsed at the boundary, and created tags are valid everywhere."""

from __future__ import annotations

import re

import pytest
from syncd.artifact.digest import Digest
from syncd.errors import Invalid
from syncd.oci.references import parse_image, parse_repository, tag_of

from tests.support.sources import manifest_of

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("text", "origin", "repository", "wanted"),
    [
        ("registry.local/team/sdxl:1.4", "https://registry.local", "team/sdxl", "1.4"),
        ("registry.local:5000/sdxl", "https://registry.local:5000", "sdxl", "latest"),
        (f"registry.local/a/b@sha256:{SHA}", "https://registry.local", "a/b", f"sha256:{SHA}"),
        (f"registry.local/a/b:1@sha256:{SHA}", "https://registry.local", "a/b", f"sha256:{SHA}"),
        ("127.0.0.1:5000/a", "http://127.0.0.1:5000", "a", "latest"),
        ("localhost/a", "http://localhost", "a", "latest"),
        ("[::1]:5000/a", "http://[::1]:5000", "a", "latest"),
    ],
)
def test_an_image_has_a_registry_a_repository_and_a_target(
    text: str, origin: str, repository: str, wanted: str
) -> None:
    found = parse_image(text)
    assert (found.origin, found.repository, found.target) == (origin, repository, wanted)
    assert parse_image(str(found)) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sdxl", "has no registry"),
        ("team/sdxl:1", "has no registry"),
        ("user:secret@registry.local/a", "has no registry"),
        ("registry.local/", "is not a repository"),
        ("registry.local/Team/sdxl", "is not a repository"),
        ("registry.local/../sdxl", "is not a repository"),
        ("registry.local/a:", "is not a tag"),
        ("registry.local/a:b/c", "is not a tag"),
        (f"registry.local/a:{'t' * 129}", "is not a tag"),
        ("registry.local/a@sha256:short", "expected a sha256"),
        ("registry.local/a@md5:short", "expected a sha256"),
    ],
)
def test_a_reference_that_is_not_an_image_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        parse_image(text)


def test_a_repository_has_no_tag_since_the_tag_is_ours() -> None:
    assert parse_repository("registry.local/team/sdxl").repository == "team/sdxl"
    with pytest.raises(Invalid, match="got a tag"):
        parse_repository("registry.local/team/sdxl:v1")


@pytest.mark.parametrize(
    ("model", "version", "begins"),
    [
        ("sdxl", "v1", "sdxl-v1-"),
        ("team/sdxl", "1.4.0+cu12", "team_sdxl-1.4.0_cu12-"),
        ("m" * 128, "v" * 96, "m" * 115 + "-"),
    ],
)
def test_a_tag_is_legal_and_ends_with_the_digest_of_the_image(model: str, version: str, begins: str) -> None:
    tag = tag_of(manifest_of({"a": b"1"}, model, version), Digest(SHA))
    assert tag == f"{begins}{SHA[:12]}"
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", tag)
