"""Common parts of Alibaba Cloud SDK clients: configuration, call options, and the exceptions of a call."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from alibabacloud_tea_openapi.utils_models import Config
from darabonba.exceptions import DaraException, UnretryableException
from darabonba.runtime import RuntimeOptions
from requests.exceptions import RequestException

from syncd.registry.settings import AccessKey

_CONNECT_MS: Final = 5_000
_READ_MS: Final = 30_000
FAILURES: Final = (DaraException, UnretryableException, RequestException, ValueError, AttributeError, TypeError)
"""What an SDK call raises; the last three when it cannot parse a response."""


def config_of(key: AccessKey, region: str, address: str) -> Config:
    """The configuration of a client for an address, with the address's scheme."""
    parts = urlsplit(address)
    return Config(
        access_key_id=key.access_key_id,
        access_key_secret=key.access_key_secret.reveal(),
        security_token=key.security_token.reveal() if key.security_token else None,
        region_id=region,
        endpoint=parts.netloc,
        protocol=parts.scheme,
    )


def options() -> RuntimeOptions:
    """The options of one call. The SDK does not retry: syncd does."""
    return RuntimeOptions(connect_timeout=_CONNECT_MS, read_timeout=_READ_MS, autoretry=False)
