"""Setting types: what each accepts, and the message for anything else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import time
from functools import lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo
from pydantic_core import PydanticCustomError

from syncd.artifact.names import parse_model
from syncd.config.secret_file import SecretFile
from syncd.errors import Invalid
from syncd.oci.references import parse_image, parse_repository
from syncd.plan.gate import DAYS, WeekTime
from syncd.secret import Secret

_UNITS: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE: Final = re.compile(r"(\d+)\s*([A-Za-z]*)")
_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REGION: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_ALIAS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_FUNCTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_VARIABLE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PATTERN: Final = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._*-]*(/[A-Za-z0-9*][A-Za-z0-9._*-]*)?")
_AGE: Final = re.compile(r"(\d{1,7})([smhd])")
_AGE_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGE_MAX_S: Final = 100 * 365 * 86400  # 100 years
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")


def shown(value: object) -> str:
    """A value for a message: JSON, truncated. Never called with a secret."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def wrong(found: str, advice: str) -> PydanticCustomError:
    """The error of one setting: the actual value, and the expected one or what to do (see `Problem.advice`)."""
    return PydanticCustomError("wrong", "got {found}; {advice}", {"found": found, "advice": advice})


def _text(value: object, advice: str) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise wrong(shown(value), advice)
    return value


def _matching(pattern: re.Pattern[str], advice: str) -> BeforeValidator:
    def check(value: object) -> str:
        text = _text(value, advice)
        if not pattern.fullmatch(text):
            raise wrong(shown(value), advice)
        return text

    return BeforeValidator(check)


def _size(value: object) -> int:
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match and match[2] in _UNITS:
        return int(match[1]) * _UNITS[match[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise wrong(shown(value), 'expected a size such as "128MiB" or a number of bytes')


def _age(value: object) -> float:
    match = _AGE.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match[1]) * _AGE_UNITS_S[match[2]] if match else 0
    if not 0 < seconds <= _AGE_MAX_S:
        raise wrong(shown(value), 'expected a time such as "7d", "12h" or "30m"')
    return float(seconds)


def _rate(value: object) -> int:
    text = value.strip() if isinstance(value, str) else value
    try:
        if isinstance(text, str) and text.endswith("/s"):
            return _size(text.removesuffix("/s"))
    except PydanticCustomError:
        text = None
    if text == 0 and not isinstance(text, bool):
        return 0
    raise wrong(shown(value), 'expected a rate such as "40MiB/s", or 0 for none')


def _time_of_day(value: object) -> time:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong(shown(value), 'expected a time of day such as "08:00"')
    return time(int(match[1]), int(match[2]))


def _moment_of_week(value: object) -> WeekTime:
    day, _, at = value.partition(" ") if isinstance(value, str) else ("", "", "")
    match = _TIME.fullmatch(at)
    if match is None or day not in DAYS:
        raise wrong(shown(value), 'expected a day and a time such as "fri 18:00"')
    return WeekTime(DAYS.index(day), time(int(match[1]), int(match[2])))


def _zone(value: object) -> ZoneInfo:
    advice = 'expected a time zone such as "Asia/Shanghai"'
    try:
        return ZoneInfo(_text(value, advice))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise wrong(shown(value), advice) from error


def _absolute(value: object) -> Path:
    advice = "expected an absolute path without '..'"
    path = PurePosixPath(_text(value, advice))
    if not path.is_absolute() or ".." in path.parts:
        raise wrong(shown(value), advice)
    return Path(path)


def _endpoint(value: object) -> str:
    advice = 'expected a URL such as "https://oss-cn-hangzhou.aliyuncs.com"'
    parts = urlsplit(_text(value, advice))
    if parts.username is not None:
        raise wrong("a URL with a user in it", advice)
    extra = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in {"http", "https"} or extra or not _HOST.fullmatch(parts.netloc):
        raise wrong(shown(value), f"{advice}, without a path" if parts.netloc and extra else advice)
    return f"{parts.scheme}://{parts.netloc}"


def _listen(value: object) -> str:
    advice = 'expected an address and a port such as "127.0.0.1:8484", or "" for none'
    text = _text(value, advice)
    host, colon, port = text.rpartition(":")
    if text and not (colon and _HOST.fullmatch(host) and port.isdecimal() and int(port) < 1 << 16):
        raise wrong(shown(value), advice)
    return text


def _hook_url(value: object) -> str:
    advice = 'expected the URL that the sender was given such as "https://syncd.example.com/hooks/models"'
    text = _text(value, advice)
    host, slash, path = re.sub("^https?://", "", text).partition("/")
    if not text.startswith(("http://", "https://")) or not _HOST.fullmatch(host) or not slash or not path:
        raise wrong(shown(value), advice)
    return text


def _issuer(value: object) -> str:
    advice = 'expected the address of an OpenID provider such as "https://login.example.com/realms/ai"'
    parts = urlsplit(_text(value, advice))
    is_bare = parts.username is None and not parts.query and not parts.fragment
    if parts.scheme not in {"http", "https"} or not is_bare or not _HOST.fullmatch(parts.netloc):
        raise wrong(shown(value), advice)
    return str(value)


def _address(value: object) -> str:
    advice = 'expected an IP address or network such as "10.0.0.7" or "10.0.0.0/8"'
    text = _text(value, advice)
    try:
        return str(ip_network(text, strict=False)) if "/" in text else str(ip_address(text))
    except ValueError as error:
        raise wrong(shown(value), advice) from error


def _index_url(value: object) -> str:
    advice = 'expected the address of a JSON index such as "https://models.example.com/index.json"'
    parts = urlsplit(_text(value, advice))
    if parts.username is not None:
        raise wrong("a URL with a user in it", "set `user` and `token`")
    if parts.scheme not in {"http", "https"} or parts.query or parts.fragment or not _HOST.fullmatch(parts.netloc):
        raise wrong(shown(value), advice)
    return str(value)


def _prefix(value: object) -> str:
    advice = 'expected a prefix such as "team-a/" or "" for the whole bucket'
    text = _text(value, advice)
    parts = text.removesuffix("/").split("/")
    if text and any(part in {"", ".", ".."} or "\\" in part for part in parts):
        raise wrong(shown(value), advice + ": no leading '/', no empty part, no '..'")
    return text.removesuffix("/") + "/" if text else ""


def _mount_dir(value: object) -> str:
    advice = "expected an absolute directory such as \"/mnt/models\", without '..' and not '/' itself"
    path = _normal_directory(_text(value, advice))
    if not path:
        raise wrong(shown(value), advice)
    return path


@lru_cache(maxsize=1024)  # most of the bindings of a fleet have the same
def _normal_directory(text: str) -> str:
    path = PurePosixPath(text)
    is_one = text.startswith("/") and not text.startswith("//") and len(path.parts) >= 2 and ".." not in path.parts
    return str(path) if is_one else ""


def _image_directory(value: object) -> str:
    text = _mount_dir(value)
    if "{" in text.replace("{model}", "") or "}" in text.replace("{model}", ""):
        raise wrong(shown(value), "only {model} can be filled in")
    return text


def _repository(value: object) -> str:
    advice = 'expected a repository such as "registry-vpc.cn-hangzhou.aliyuncs.com/team/sdxl", without a tag'
    try:
        return str(parse_repository(_text(value, advice)))
    except Invalid as error:
        raise wrong(shown(value), advice) from error


def _image(value: object) -> str:
    advice = 'expected an image such as "registry-vpc.cn-hangzhou.aliyuncs.com/team/server:1.4"'
    try:
        return str(parse_image(_text(value, advice)))
    except Invalid as error:
        raise wrong(shown(value), advice) from error


def _model(value: object) -> str:
    text = _text(value, "expected a model's name")
    try:
        return parse_model(text)
    except Invalid as error:
        raise wrong(shown(value), f"expected a model's name: {error.hint}") from error


def _state_url(value: object) -> str:
    advice = 'expected "sqlite:////absolute/path.db" or "postgresql+psycopg://user@host/database"'
    parts = urlsplit(_text(value, advice))
    if parts.password is not None:
        raise wrong("a password in the URL", 'leave it out and set state.password = { env = "NAME" }')
    if parts.scheme == "sqlite":
        if parts.netloc or not parts.path.startswith("//") or len(parts.path) < 3:
            raise wrong(shown(value), "expected an absolute path (four slashes): sqlite:////var/lib/syncd/syncd.db")
    elif parts.scheme != "postgresql+psycopg" or not parts.netloc or len(parts.path) < 2:
        raise wrong(shown(value), advice)
    return str(value)


def _secret(value: object, info: ValidationInfo) -> Secret:
    """Read a secret from the environment or file that the setting names; its value is never shown."""
    advice = 'expected { env = "NAME" } or { file = "/run/secrets/name" }: secrets do not stand in this file'
    if isinstance(value, Mapping) and set(value) == {"env", "file"}:
        raise wrong("`env` and `file`", "expected one of them")
    if not isinstance(value, Mapping) or len(value) != 1 or not all(isinstance(item, str) for item in value.values()):
        raise wrong("something else", advice)
    ((where, name),) = value.items()
    if where == "env":
        return _from_environment(name, info.context or {})
    if where == "file":
        return _from_file(name)
    raise wrong(f"the key {shown(where)}", advice)


def _from_environment(name: str, environ: Mapping[str, Any]) -> Secret:
    text = str(environ.get(name, ""))
    bare = name.strip("${}")
    if name != bare and _VARIABLE.fullmatch(bare):
        raise wrong(f"{{ env = {shown(name)} }}", f"write the variable's name alone: {{ env = {shown(bare)} }}")
    if not name:
        raise wrong('{ env = "" }', "expected the name of an environment variable")
    if not text:
        raise wrong(f"{{ env = {shown(name)} }}", "that environment variable is not set, or empty")
    return Secret(text, f"the environment variable {name}")


def _from_file(name: str) -> Secret:
    found = f"{{ file = {shown(name)} }}"
    path = Path(name)
    if not path.is_absolute():
        raise wrong(found, "expected an absolute path")
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise wrong(found, f"that file cannot be read: {reason}") from error
    if not text:
        raise wrong(found, "that file is empty")
    return Secret(text, str(path), SecretFile(path, text).read)


_NAME_ADVICE: Final = "expected letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64"
_ALIAS_ADVICE: Final = "expected a letter, then letters, digits, '_' and '-', at most 128"

Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Rate = Annotated[int, BeforeValidator(_rate)]
"""Bytes a second; 0 for no limit."""
Age = Annotated[float, BeforeValidator(_age)]
"""A time such as "7d", in seconds, more than 0."""
ClockTime = Annotated[time, BeforeValidator(_time_of_day)]
WeekMoment = Annotated[WeekTime, BeforeValidator(_moment_of_week)]
TimeZone = Annotated[ZoneInfo, BeforeValidator(_zone)]
Seconds = Annotated[float, Field(gt=0, le=30 * 86400, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Field(ge=0, le=30 * 86400, allow_inf_nan=False)]
"""Seconds, including 0."""
AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]
Endpoint = Annotated[str, BeforeValidator(_endpoint)]
IndexUrl = Annotated[str, BeforeValidator(_index_url)]
Host = Annotated[str, _matching(_HOST, 'expected a host such as "123.cn-hangzhou.fc.aliyuncs.com", without "https://"')]
NasServer = Annotated[
    str, _matching(_HOST, 'expected a host such as "0123456789-abc12.cn-shanghai.nas.aliyuncs.com", without "nfs://"')
]
Listen = Annotated[str, BeforeValidator(_listen)]
"""`host:port`, or empty."""
IssuerUrl = Annotated[str, BeforeValidator(_issuer)]
HookUrl = Annotated[str, BeforeValidator(_hook_url)]
Address = Annotated[str, BeforeValidator(_address)]
Prefix = Annotated[str, BeforeValidator(_prefix)]
MountDir = Annotated[str, BeforeValidator(_mount_dir)]
ImageDirectory = Annotated[str, BeforeValidator(_image_directory)]
"""`{model}` in it stands for the model's name."""
ImageRepository = Annotated[str, BeforeValidator(_repository)]
ImageName = Annotated[str, BeforeValidator(_image)]
Model = Annotated[str, BeforeValidator(_model)]
StateUrl = Annotated[str, BeforeValidator(_state_url)]
SecretField = Annotated[Secret, BeforeValidator(_secret), PlainSerializer(str)]
Name = Annotated[str, _matching(_NAME, _NAME_ADVICE)]
Region = Annotated[str, _matching(_REGION, 'expected a region\'s id such as "cn-hangzhou"')]
Alias = Annotated[str, _matching(_ALIAS, _ALIAS_ADVICE)]
Function = Annotated[str, _matching(_FUNCTION, _ALIAS_ADVICE)]
Bucket = Annotated[
    str, _matching(_BUCKET, "expected a bucket's name: 3 to 63 of a-z, 0-9 and '-', not at the ends '-'")
]
WorkspaceId = Annotated[str, _matching(re.compile(r"[0-9]{1,20}"), 'expected the id of a workspace such as "12345"')]
Variable = Annotated[
    str, _matching(_VARIABLE, "expected a variable's name: a letter, then letters, digits and underscores")
]
ModelPattern = Annotated[
    str, _matching(_PATTERN, 'expected a model\'s name or a pattern such as "sdxl", "sd*" or "team/*"')
]


def is_name(text: str) -> bool:
    """Whether `text` may name a registry, credentials, a target, a runtime or a binding."""
    return _NAME.fullmatch(text) is not None


NAME_ADVICE: Final = _NAME_ADVICE


class Table(BaseModel):
    """A table of the file: unknown keys are refused, and values are not converted implicitly."""

    # A validator is built when a table is first read: a command pays for the tables of its file, not for all kinds.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, defer_build=True)


class BucketTable(Table):
    """A prefix of a bucket, and its credentials. `endpoint` is the endpoint for syncd itself."""

    region: Region
    endpoint: Endpoint
    bucket: Bucket
    credentials: str
    prefix: Prefix = ""
