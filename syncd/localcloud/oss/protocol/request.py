"""An OSS request: its bucket and key, from path or host, and typed access to its parameters."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from syncd.localcloud.httpd.messages import ServerRequest
from syncd.localcloud.oss.errors import OssError, invalid_argument

KEY_BYTES_MAX = 1023
DIGITS_MAX = 18  # fits 64 bits


@dataclass(slots=True)
class OssCall:
    """One request with its address. `bucket` and `key` are '' when the request has none."""

    request: ServerRequest
    bucket: str
    key: str
    region: str
    request_id: str
    now_s: float
    operation: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    copied_bytes: int = 0  # on the server side

    def header(self, name: str, default: str = "") -> str:
        """A header as text. Clients send UTF-8 although HTTP specifies Latin-1."""
        return as_text(self.request.headers.get(name, default))

    @property
    def host(self) -> str:
        return self.request.headers.get("host")

    @property
    def resource(self) -> str:
        """The resource name for fault rules and counters: `bucket/key`, `bucket`, or ''."""
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    def count(self, name: str, default: int, ceiling: int) -> int:
        """A page size.

        Raises:
            OssError: The value is not an integer between 1 and `ceiling`.
        """
        text = self.args.get(name) or str(default)
        value = decimal(text)
        if value is None or not 1 <= value <= ceiling:
            message = f"Argument {name} must be an integer between 1 and {ceiling}."
            raise invalid_argument(message, name, text)
        return value


def decimal(text: str) -> int | None:
    """An unsigned decimal number; None for anything else. Python's own parser takes other scripts and any length."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


def as_text(value: str) -> str:
    """Decode a header value that was sent as UTF-8 and parsed as Latin-1."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        return value


def address(request: ServerRequest, region: str, domains: tuple[str, ...]) -> tuple[str, str]:
    """The bucket and the key of a request.

    The bucket is in a host `<bucket>.<domain>` or `<bucket>.oss-<region>.<domain>`; with any other host, such
    as an IP address, it is in the path.

    Raises:
        OssError: The key is invalid.
    """
    path = request.path.removeprefix("/")
    bucket = _bucket_of_host(request.headers.get("host"), region, domains)
    if not bucket:
        bucket, _, path = path.partition("/")
        bucket = _decode(bucket)
    key = _decode(path)
    if len(key.encode()) > KEY_BYTES_MAX or key.startswith(("/", "\\")):
        raise OssError(400, "InvalidObjectName", "The specified object is not valid.", "0016-00000004")
    return bucket, key


def _decode(text: str) -> str:
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise OssError(400, "InvalidObjectName", "The specified object is not valid.", "0016-00000004") from error


def _bucket_of_host(host: str, region: str, domains: tuple[str, ...]) -> str:
    name = host.rsplit(":", 1)[0].lower()
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        pass
    else:
        return ""
    for domain in domains:
        if name.endswith(f".{domain}"):
            first = name.removesuffix(domain).rstrip(".").split(".")[0]
            return "" if first in (f"oss-{region}", f"oss-{region}-internal") else first
    return ""
