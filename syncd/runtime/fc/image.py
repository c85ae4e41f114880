"""A function's image: its resolved digest, its replacement, and the state of its preparation.

Functions are passed untyped: the SDK's classes are not needed. A tag is saved, and the digest that the platform
resolved is compared with the one that was pushed: the platform does not promise to accept a digest.
"""

from __future__ import annotations

import copy
import re
from typing import Any, Final

from syncd.errors import Failed, Unavailable
from syncd.values.function import Change

SAVED_AGAIN_MAX: Final = 3  # each time after the platform's timeout
_OPTIMIZING: Final = "ImageOptimizing"
_GAVE_UP: Final = re.compile(r"time[d -]*out|deadline|超时", re.IGNORECASE)


def is_container(function: Any) -> bool:
    """Whether it has states at all: other runtimes have none, or stay Pending."""
    return bool(function.runtime == "custom-container")


def is_busy(function: Any) -> bool:
    """Whether its last update is still in progress."""
    return is_container(function) and (function.last_update_status == "InProgress" or function.state == "Pending")


def is_optimizing(function: Any) -> bool:
    """Whether it is up to date and would start slowly: the platform has not made its own copy of the image yet."""
    is_through = is_container(function) and function.last_update_status == "Successful"
    return is_through and function.last_update_status_reason_code == _OPTIMIZING


def has_failed(function: Any) -> bool:
    """Whether its last update failed. Calls still reach the previous state."""
    return is_container(function) and "Failed" in {function.last_update_status, function.state}


def why_failed(function: Any) -> str:
    """The platform's reason."""
    reason = function.last_update_status_reason or function.state_reason or "no reason given"
    code = function.last_update_status_reason_code or function.state_reason_code or ""
    return f"{code} {reason}".strip()


def gave_up(function: Any) -> bool:
    """Whether the platform's preparation of an image timed out: saving the function again restarts it."""
    return has_failed(function) and _GAVE_UP.search(why_failed(function)) is not None


def container_with(function: Any, change: Change) -> Any:
    """The function's container as it was read, with another image, without read-only fields.

    Raises:
        Failed: The function does not use a container.
    """
    if not is_container(function) or function.custom_container_config is None:
        raise Failed(
            f"{function.function_name}: expected runtime custom-container for an image, got {function.runtime}",
            hint="create a container function for this binding, or serve the model from NAS or OSS",
        )
    container = copy.copy(function.custom_container_config)
    container.image = change.image.partition("@")[0]
    container.resolved_image_uri = container.acceleration_info = None
    return container


def check_resolved(function: Any, change: Change) -> None:
    """Compare the digest that the tag was resolved to with the one that was pushed.

    Raises:
        Unavailable: The tag is not resolved yet.
        Failed: It is another image.
    """
    if not change.image:
        return
    name, _, expected = change.image.partition("@")
    resolved = (function.custom_container_config.resolved_image_uri or "").partition("@")[2]
    if not resolved:
        raise Unavailable(f"{function.function_name}: the platform has not resolved {name} yet")
    if function.custom_container_config.image == name and resolved != expected:
        raise Failed(
            f"{function.function_name}: {name}: expected {expected} as pushed, the platform resolved {resolved}",
            hint="another tool moved the tag, or the platform reads another repository of this name",
        )
