"""A function's image: what it resolved to, how it is put in place of another, and how long preparing it may take.

Functions are read as they come: the SDK's classes are not needed. A tag is saved, and what the platform resolved it to
is compared with the digest that was pushed: the platform does not promise to take a digest.
"""

from __future__ import annotations

import copy
import re
from typing import Any, Final

from syncd.errors import Failed, Unavailable
from syncd.values.function import Change

SAVED_AGAIN_MAX: Final = 3  # each time the platform has as long as it takes to give up
_OPTIMIZING: Final = "ImageOptimizing"
_GAVE_UP: Final = re.compile(r"time[d -]*out|deadline|超时", re.IGNORECASE)


def image_of(function: Any) -> str:
    """With the digest that its tag was resolved to, where it was."""
    container = function.custom_container_config
    name = (container.image if container else "") or ""
    resolved = (container.resolved_image_uri if container else "") or ""
    digest = resolved.partition("@")[2]
    return f"{name.partition('@')[0]}@{digest}" if name and digest else name


def is_container(function: Any) -> bool:
    """Whether it has states at all: other runtimes have none, or show Pending for ever."""
    return bool(function.runtime == "custom-container")


def is_busy(function: Any) -> bool:
    """Whether its last update has not ended."""
    return is_container(function) and (function.last_update_status == "InProgress" or function.state == "Pending")


def is_optimizing(function: Any) -> bool:
    """Whether it is up to date, and would start slowly: the platform has not made its own copy of the image yet."""
    is_through = is_container(function) and function.last_update_status == "Successful"
    return is_through and function.last_update_status_reason_code == _OPTIMIZING


def has_failed(function: Any) -> bool:
    """Whether its last update did. Calls go on to what was before."""
    return is_container(function) and "Failed" in {function.last_update_status, function.state}


def why_failed(function: Any) -> str:
    """In the platform's words."""
    reason = function.last_update_status_reason or function.state_reason or "no reason given"
    code = function.last_update_status_reason_code or function.state_reason_code or ""
    return f"{code} {reason}".strip()


def gave_up(function: Any) -> bool:
    """Whether preparing an image took the platform too long: saving the function again begins it anew."""
    return has_failed(function) and _GAVE_UP.search(why_failed(function)) is not None


def container_with(function: Any, change: Change) -> Any:
    """The function's container as it was read, with another image. What is only ever told is left out.

    Raises:
        Failed: It is no function of a container.
    """
    if not is_container(function) or function.custom_container_config is None:
        raise Failed(
            f"{function.function_name} is {function.runtime}, an image needs custom-container",
            hint="make a function of a container for this binding, or serve the model from NAS or OSS",
        )
    container = copy.copy(function.custom_container_config)
    container.image = change.image.partition("@")[0]
    container.resolved_image_uri = container.acceleration_info = None
    return container


def refuse_other(function: Any, change: Change) -> None:
    """Compare what the tag was resolved to with what was pushed.

    Raises:
        Unavailable: It is not said yet.
        Failed: It is another image.
    """
    if not change.image:
        return
    name, _, wanted = change.image.partition("@")
    resolved = (function.custom_container_config.resolved_image_uri or "").partition("@")[2]
    if not resolved:
        raise Unavailable(f"{function.function_name}: the platform does not say yet what {name} is")
    if function.custom_container_config.image == name and resolved != wanted:
        raise Failed(
            f"{function.function_name}: {name} is {resolved} to the platform, {wanted} was pushed",
            hint="another tool moved the tag, or the platform reads another repository of this name",
        )
