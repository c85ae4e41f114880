"""Source directory of `publish --from`: no tool's leftovers, links, credentials or changed files."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest
from syncd.cli.exit_codes import Exit, code_of
from syncd.cli.upload.source_directory import check_no_secrets, check_unchanged, digest_of, scan
from syncd.errors import Conflict, Invalid, Refused

from tests.acceptance.stage import write_files

KEPT = {"model.safetensors": b"w", "config.json": b"{}", ".gitattributes": b"*.bin filter=lfs", "a/b/c.txt": b"c"}
LEFT_OUT = [
    ".git/config",
    ".git/lfs/objects/aa/x",
    "sub/.git/HEAD",
    ".cache/huggingface/download/model.safetensors.lock",
    "__pycache__/model.cpython-311.pyc",
    "a/__pycache__/x.pyc",
    ".DS_Store",
    "a/.DS_Store",
    ".ipynb_checkpoints/notes.ipynb",
    ".venv/pyvenv.cfg",
    "weights.incomplete",
    "weights.tmp",
    "weights.k2j3h4g5.partial",
    "weights.crdownload",
    ".nfs0001",
]
# Written in pieces, so that no scanner takes this file for a leak.
SECRETS = {
    ".git-credentials.txt": "https://someone:" + "notARealToken1@hub.example/acme/m",
    "train.py": "import x\n\nURL = 'postgresql://user:" + "pass1word@10.0.0.1/db'",
    "key.pem": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE",
    "ed.pem": "-----BEGIN " + "PRIVATE KEY-----\nMIIE",
    "ssh": "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3Bl",
    ".env": "OSS_ACCESS_KEY_ID=LTAI" + "5t8ExampleExample12",
    "aws.ini": "aws_access_key_id = AKIA" + "IOSFODNN7EXAMPLE",
    "google.json": '{"key": "AIza' + "SyA1234567890abcdefghijklmnopqrstuv" + '"}',
    "hub.yaml": "token: hf_" + "abcdefghijklmnopqrstuvwxyzabcdefgh",
    "github.cfg": "ghp_" + "a" * 36,
}
HARMLESS = {
    "README.md": b"See https://example.com/a:b and https://example.com/@user, or mail a@example.com",
    "tokenizer.json": ("https://u:" + "password@host/").encode(),
    "vocab.txt": ("-----BEGIN RSA " + "PRIVATE KEY-----").encode(),
    "merges.txt": ("AKIA" + "IOSFODNN7EXAMPLE").encode(),
    "weights.bin": b"\x00" + ("AKIA" + "IOSFODNN7EXAMPLE").encode(),
    "large.txt": b"x" * (1 << 20) + (" AKIA" + "IOSFODNN7EXAMPLE").encode(),
    "hashes.txt": b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "ports.md": b"http://localhost:8000/a@b",
}


def check(source: Path, *allowed: str) -> None:
    check_no_secrets(source, scan(source).files, frozenset(allowed))


def test_hidden_directories_and_leftovers_are_left_out_and_named(tmp_path: Path) -> None:
    write_files(tmp_path, {**KEPT, **dict.fromkeys(LEFT_OUT, b"secret")})
    found = scan(tmp_path)
    assert set(found.files) == set(KEPT)
    assert found.left_out == (
        ".DS_Store", ".cache/", ".git/", ".ipynb_checkpoints/", ".nfs0001", ".venv/", "__pycache__/", "a/.DS_Store",
        "a/__pycache__/", "sub/.git/", "weights.crdownload", "weights.incomplete", "weights.k2j3h4g5.partial",
        "weights.tmp",
    )  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_a_credential_stops_it_with_the_file_and_the_line_and_without_the_value(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {**KEPT, f"sub/{name}": b"# first line\n" + SECRETS[name].encode()})
    with pytest.raises(Conflict) as refused:
        check(tmp_path)
    line = 2 + SECRETS[name].partition("://")[0].count("\n") if "://" in SECRETS[name] else 2
    assert f"sub/{name}, line {line}: this seems to be a" in refused.value.message
    assert code_of(refused.value) == Exit.CONFLICT
    assert f"--allow-secret sub/{name}" in refused.value.hint
    secret = SECRETS[name].splitlines()[-1]
    assert secret not in refused.value.message + refused.value.hint
    check(tmp_path, f"sub/{name}")
    check(tmp_path, "sub/*")


def test_a_credential_in_utf_16_is_found(tmp_path: Path) -> None:
    write_files(tmp_path, {**KEPT, "env.ps1": ("one\n" + SECRETS["aws.ini"]).encode("utf-16")})
    with pytest.raises(Conflict, match=r"env\.ps1, line 2"):
        check(tmp_path)


def test_what_only_resembles_a_credential_passes(tmp_path: Path) -> None:
    write_files(tmp_path, HARMLESS)
    check(tmp_path)


@pytest.mark.parametrize(("target", "hint"), [("../blobs/aaaa", "cp -rL"), ("nowhere", "--local-dir"), (".", "cp -rL")])
def test_a_link_is_refused_with_a_way_out(tmp_path: Path, target: str, hint: str) -> None:
    write_files(tmp_path / "snapshot", KEPT)
    write_files(tmp_path / "blobs", {"aaaa": b"w"})
    (tmp_path / "snapshot" / "linked.safetensors").symlink_to(target)
    with pytest.raises(Invalid, match="is a symbolic link") as refused:
        scan(tmp_path / "snapshot")
    assert hint in refused.value.hint
    assert str(tmp_path / "snapshot") in refused.value.hint


@pytest.mark.parametrize("name", [b"gr\xfc\xdfe.txt", b"a\nb", b"nfd-e\xcc\x81", b"back\\slash"])
def test_a_name_that_no_version_may_have_is_refused_in_one_line(tmp_path: Path, name: bytes) -> None:
    write_files(tmp_path, KEPT)
    Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(b"x")
    with pytest.raises(Invalid, match="is refused") as refused:
        scan(tmp_path)
    assert code_of(refused.value) == Exit.USAGE
    assert refused.value.message.isprintable()
    assert refused.value.message.encode()


def test_a_file_that_a_tool_still_downloads_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {**KEPT, "sub/model.safetensors": bytes(100), "sub/model.safetensors.aria2": b"control"})
    with pytest.raises(Conflict, match=r"sub/model\.safetensors is still being downloaded") as refused:
        scan(tmp_path)
    assert "remove both files" in refused.value.hint


def test_names_that_differ_in_case_only_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"A.bin": b"1", "a.bin": b"2"})
    with pytest.raises(Invalid, match="collide"):
        scan(tmp_path)


def test_a_socket_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, KEPT)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        with pytest.raises(Invalid, match="not a regular file"):
            scan(tmp_path)


def test_digests_are_of_the_file_that_was_scanned(tmp_path: Path) -> None:
    write_files(tmp_path, KEPT)
    files = scan(tmp_path).files
    assert digest_of(tmp_path, "a/b/c.txt", files["a/b/c.txt"]) == hashlib.sha256(b"c").hexdigest()
    (tmp_path / "a/b/c.txt").unlink()
    (tmp_path / "a/b/c.txt").write_bytes(b"d")
    with pytest.raises(Conflict, match="changed while it was read"):
        digest_of(tmp_path, "a/b/c.txt", files["a/b/c.txt"])
    with pytest.raises(Conflict, match="changed while it was read"):
        check_unchanged(tmp_path, files)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, KEPT)
    files = scan(tmp_path).files

    def denied(*_args: object, **_named: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # the tests may run as root, whom no mode stops
    with pytest.raises(Refused, match="Permission denied"):
        digest_of(tmp_path, "config.json", files["config.json"])
