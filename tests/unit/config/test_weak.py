"""Weak settings: each is a warning, and what is not weak is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from syncd.config import load, warnings

LONG, SHORT = "0123456789abcdef", "0123456789abcde"
ENVIRON = {
    "LONG": LONG,
    "SHORT": SHORT,
    "B64": "whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
    "B64_SHORT": "whsec_MDEyMzQ1Njc4OWFiY2Rl",
}
BASE = """
[registries.models]
kind = "directory"
path = "/srv/models"
models = ["nothing-*"]
"""
HTTPS, HTTP = "https://models.example.com", "http://models.example.com"


def warned(tmp_path: Path, text: str, record: Path | None = None) -> list[str]:
    """The keys of the warnings about weak settings."""
    file = tmp_path / "config.toml"
    state = f'[state]\nurl = "sqlite:///{record or tmp_path / "absent" / "state.db"}"\n'
    file.write_text(state + BASE + text)
    return [each.key for each in warnings(load(file, ENVIRON)) if ".models[" not in each.key]


def hook(kind: str, variable: str) -> str:
    return f'[api]\nlisten = "127.0.0.1:1"\n[hooks.models]\nkind = "{kind}"\nsecret = {{ env = "{variable}" }}\n'


def api(listen: str, *proxies: str) -> str:
    return f'[api]\nlisten = "{listen}"\ntrusted_proxies = {list(proxies)}\n'.replace("'", '"')


def registry(kind: str, url: str, *lines: str) -> str:
    key = "url" if kind == "http" else "endpoint"
    return "\n".join([f'[registries.more]\nkind = "{kind}"\n{key} = "{url}"\nmodels = ["team/*"]', *lines, ""])


TOKEN = 'token = { env = "LONG" }'
MORE = "registries.more"
OSS = """
[credentials.main]
access_key_id = "id"
access_key_secret = {{ env = "LONG" }}
[targets.hz]
kind = "oss"
region = "cn-hangzhou"
endpoint = "{url}"
mount_endpoint = "http://oss-cn-hangzhou-internal.aliyuncs.com"
bucket = "models-hz"
credentials = "main"
"""
FC = """
[credentials.main]
access_key_id = "id"
access_key_secret = {{ env = "LONG" }}
[runtimes.hz]
kind = "fc"
region = "cn-hangzhou"
endpoint = "{host}"
protocol = "{protocol}"
credentials = "main"
"""
CASES = {
    "a long secret": (hook("github", "LONG"), []),
    "a short secret": (hook("github", "SHORT"), ["hooks.models.secret"]),
    "a short secret from before": (
        hook("github", "LONG") + 'secret_before = { env = "SHORT" }\n',
        ["hooks.models.secret_before"],
    ),
    "a long secret in base64": (hook("standard", "B64"), []),
    "a short secret in base64, however long its text": (hook("standard", "B64_SHORT"), ["hooks.models.secret"]),
    "no API": (api(""), []),
    "loopback": (api("127.0.0.1:1", "127.0.0.1"), []),
    "loopback of IPv6": (api("[::1]:1", "::1"), []),
    "localhost": (api("localhost:1", "127.0.0.1"), []),
    "everywhere without a proxy": (api("0.0.0.0:1", "127.0.0.1"), ["api.listen"]),
    "everywhere of IPv6 without a proxy": (api("[::]:1", "::1"), ["api.listen"]),
    "an address without a proxy": (api("10.0.0.7:1"), ["api.listen"]),
    "everywhere behind a proxy": (api("0.0.0.0:1", "10.0.0.8"), []),
    "everybody a proxy": (api("0.0.0.0:1", "0.0.0.0/0"), ["api.trusted_proxies[0]"]),
    "everybody a proxy on IPv6": (api("[::]:1", "10.0.0.8", "::/0"), ["api.trusted_proxies[1]"]),
    "half of everybody": (api("127.0.0.1:1", "128.0.0.0/1"), ["api.trusted_proxies[0]"]),
    "a private network": (api("127.0.0.1:1", "10.0.0.0/8"), []),
    "an index over https": (registry("http", f"{HTTPS}/index.json", TOKEN), []),
    "an index over http": (registry("http", f"{HTTP}/index.json", TOKEN), [f"{MORE}.url"]),
    "an index over http without a token": (registry("http", f"{HTTP}/index.json"), []),
    "a hub over http": (registry("huggingface", HTTP, TOKEN), [f"{MORE}.endpoint"]),
    "a hub on this machine": (registry("huggingface", "http://127.0.0.1:8080", TOKEN), []),
    "a hub on this machine by name": (registry("huggingface", "http://localhost:8080", TOKEN), []),
    "a hub on this machine by IPv6": (registry("huggingface", "http://[::1]:8080", TOKEN), []),
    "mlflow over http": (registry("mlflow", HTTP, TOKEN), [f"{MORE}.endpoint"]),
    "a registry of images over http": (
        registry("oci", HTTP, 'user = "u"', 'password = { env = "LONG" }'),
        [f"{MORE}.endpoint"],
    ),
    "a bucket over https": (OSS.format(url="https://oss-cn-hangzhou.aliyuncs.com"), []),
    "a bucket over http": (OSS.format(url="http://oss-cn-hangzhou.aliyuncs.com"), ["targets.hz.endpoint"]),
    "a runtime over https": (FC.format(host="1.cn-hangzhou.fc.aliyuncs.com", protocol="https"), []),
    "a runtime over http": (FC.format(host="1.cn-hangzhou.fc.aliyuncs.com", protocol="http"), ["runtimes.hz.protocol"]),
    "a runtime on this machine": (FC.format(host="127.0.0.1:9000", protocol="http"), []),
    "eventbridge without a region": (
        hook("eventbridge", "LONG") + 'url = "https://syncd.example.com/hooks/models"\n',
        ["hooks.models.region"],
    ),
    "eventbridge over http": (
        hook("eventbridge", "LONG") + 'url = "http://syncd.example.com/hooks/models"\nregion = "cn-hangzhou"\n',
        ["hooks.models.url"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_weak_setting_is_warned_of_and_no_other(tmp_path: Path, case: str) -> None:
    text, keys = CASES[case]
    assert warned(tmp_path, text) == keys


@pytest.mark.parametrize(
    ("mode", "is_weak"), [(0o600, False), (0o400, False), (0o640, False), (0o644, True), (0o604, True), (0o666, True)]
)
def test_a_secret_that_others_can_read_is_warned_of(tmp_path: Path, mode: int, *, is_weak: bool) -> None:
    secret = tmp_path / "secret"
    secret.write_text(LONG)
    secret.chmod(mode)
    text = hook("github", "LONG").replace('{ env = "LONG" }', f'{{ file = "{secret}" }}')
    assert warned(tmp_path, text) == (["hooks.models.secret"] if is_weak else [])


@pytest.mark.parametrize(
    ("directory_mode", "file_mode", "count"),
    [(0o700, 0o600, 0), (0o755, 0o600, 1), (0o700, 0o644, 1), (0o777, 0o666, 2), (0o750, 0o640, 0)],
)
def test_a_record_that_others_can_read_is_warned_of_and_left_as_it_is(
    tmp_path: Path, directory_mode: int, file_mode: int, count: int
) -> None:
    record = tmp_path / "record" / "state.db"
    record.parent.mkdir()
    record.touch()
    record.chmod(file_mode)
    record.parent.chmod(directory_mode)
    assert warned(tmp_path, "", record) == ["state.url"] * count
    assert (record.stat().st_mode & 0o777, record.parent.stat().st_mode & 0o777) == (file_mode, directory_mode)
