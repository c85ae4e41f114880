"""`syncd local up`, and every snippet of its page."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.acceptance.stage import ROOT, command, ended, environment, run
from tests.support.clouds import oss2_session

PAGE = (ROOT / "docs" / "how-to" / "local-cloud.md").read_text()


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_snippet_of_the_page_runs(tmp_path: Path) -> None:
    (seed,) = snippets("toml")
    (tmp_path / "seed.toml").write_text(seed)
    (line,) = snippets("sh")
    program, *arguments = shlex.split(line.replace("--port 9001", "--port 0"))
    assert program == "syncd"
    process = subprocess.Popen(
        command(*arguments, "-o", "json"), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        up = json.loads(process.stdout.readline())
        assert set(up) == {"endpoints", "access_key_id", "access_key_secret", "account_id", "root", "nas_root"}
        host = up["endpoints"]["cn-hangzhou"].removeprefix("http://")
        found = snippets("python")
        assert len(found) == 4
        for snippet in found:
            done = subprocess.run(
                [sys.executable, "-c", snippet.replace("127.0.0.1:9001", host)],
                env=environment(), capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{snippet}\n{done.stderr}"
        assert (Path(up["nas_root"]) / "my-nas.cn-shanghai.nas.local").is_dir()
    finally:
        process.terminate()
        assert ended(process).code == 0


def test_the_page_names_every_kind_of_fault() -> None:
    from syncd.localcloud import faults

    assert set(re.findall(r"^\| `([A-Z][a-z]+)` \|", PAGE, re.MULTILINE)) == set(faults.ACTION_KINDS)


def test_sigint_while_it_serves_ends_it_well_and_the_objects_are_there_again(tmp_path: Path) -> None:
    import oss2

    for _ in range(2):
        (tmp_path / "seed.toml").write_text('[[buckets]]\nregion = "cn-hangzhou"\nname = "kept-bucket"\n')
        arguments = ("local", "up", "--root", str(tmp_path / "c"), "--port", "0", "--regions", "cn-hangzhou")
        process = subprocess.Popen(
            command(*arguments, "--seed", str(tmp_path / "seed.toml"), "-o", "json"),
            env=environment(), stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            up = json.loads(process.stdout.readline())
            auth = oss2.Auth(up["access_key_id"], up["access_key_secret"])
            bucket = oss2.Bucket(auth, up["endpoints"]["cn-hangzhou"], "kept-bucket", session=oss2_session())
            if bucket.object_exists("key"):
                assert bucket.get_object("key").read() == b"value"
                return
            bucket.put_object("key", b"value")
        finally:
            process.send_signal(signal.SIGINT)
            assert ended(process).code == 0
    raise AssertionError("the object was not there after the restart")


def test_a_seed_that_cannot_be_and_a_port_that_is_taken_are_told_in_one_line(tmp_path: Path) -> None:
    seed = tmp_path / "seed.toml"
    up = ("local", "up", "--root", str(tmp_path / "c"), "--port", "0", "--regions", "cn-hangzhou", "--seed", str(seed))
    for text, word in (
        ("[[buckets]\n", "seed.toml"),
        ('[[buckets]]\nregion = "nowhere"\nname = "b-b"\n', "nowhere"),
        ('[[buckets]]\nregion = "cn-hangzhou"\n', "name"),
        ("buckets = 5\n", "seed.toml"),
        ('[[functions]]\nregion = "cn-hangzhou"\nfunctionName = "f"\n', "f"),
    ):
        seed.write_text(text)
        told = run(*up)
        assert told.code == 2, told
        assert word in told.err
        assert "docs/how-to/local-cloud.md" in told.err
    seed.unlink()
    assert run(*up, "-o", "json").document["exit_code"] == 2
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = run("local", "up", "--root", str(tmp_path / "d"), "--port", port, "--regions", "cn-hangzhou")
    assert told.code == 7, told
    assert "--port" in told.err
    assert run("local", "up", "--root", str(tmp_path / "e"), "--regions", "", "--port", "0").code == 2
    assert run("local", "up", "--root", str(tmp_path / "e"), "--regions", "../x", "--port", "0").code == 2
    assert run("local", "up", "--root", str(tmp_path / "e"), "--port", "70000").code == 2
