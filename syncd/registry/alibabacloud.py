"""What the clients of Alibaba Cloud's SDKs have in common: the key, the address, and what a call may come to."""

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
"""What a call of an SDK raises: the last three where it cannot read an answer."""


def config_of(key: AccessKey, region: str, address: str) -> Config:
    """Of a client that asks at an address, with the scheme of that."""
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
    """Of one call, which is made once: what is made again is for us to say."""
    return RuntimeOptions(connect_timeout=_CONNECT_MS, read_timeout=_READ_MS, autoretry=False)
