"""Settings of one OSS bucket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from syncd.secret import Secret, fingerprint, renewal_hint


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key pair, with the token that belongs to a temporary one."""

    key_id: str
    key_secret: Secret
    token: Secret | None = None

    @property
    def fingerprint(self) -> str:
        """What differs between two keys, and gives neither away."""
        return fingerprint(self.key_id, self.key_secret, self.token)

    @property
    def renewal_hint(self) -> str:
        """What a person does where the key is refused."""
        return renewal_hint(self.key_secret, self.token)


@dataclass(frozen=True, slots=True)
class OssSettings:
    """One bucket, or a prefix of it. `credentials` is asked before each request, so that they may rotate."""

    endpoint: str
    bucket: str
    region: str  # without `oss-`: part of the V4 signature
    credentials: Callable[[], Credentials]
    prefix: str = ""  # ends with '/' unless it is empty
    read_timeout_s: float = 60.0  # without a byte, in either direction; not for the whole
    connections_max: int = 16  # should be as many as there are threads
    path_style: bool = False  # an IP address as endpoint always is
    proxy: str | None = None  # the environment's proxies and ~/.netrc are not used
