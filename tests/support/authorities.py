"""What TLS trusts during tests: one authority, which signed nothing, in place of the machine's hundred and fifty.

Each client of a cloud that is made reads them all, which is 24 ms of CPU, and tests make thousands, none of which
goes out to the network. Where a test needs TLS it brings its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_NOBODY: Final = Path(__file__).with_name("authority.pem")
_TRUSTED, _MACHINES = "SSL_CERT_FILE", "TESTS_MACHINES_CERT_FILE"


def trust_nobody() -> None:
    """From here on, and in the processes that are started from here. May be repeated, and in a process of this one."""
    if os.environ.get(_TRUSTED) != str(_NOBODY):
        os.environ[_MACHINES] = os.environ.get(_TRUSTED, "")
        os.environ[_TRUSTED] = str(_NOBODY)


def outside() -> dict[str, str]:
    """The environment of a program that does go out to the network: it trusts whom the machine trusts."""
    own = {name: value for name, value in os.environ.items() if name not in {_TRUSTED, _MACHINES}}
    told = os.environ.get(_MACHINES, "")
    return own | ({_TRUSTED: told} if told else {})
