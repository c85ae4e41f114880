"""Process tuning: the C library's allocator and Python's garbage collector, set once at start."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from typing import Final

_ARENA_MAX: Final = -8  # M_ARENA_MAX of <malloc.h>

# The cost of a collection grows with the number of loaded objects. At Python's default of 700 new objects a
# collection, a third of the start-up time goes there and frees nothing. 50 000 small objects are about 5 MB.
_NEW_OBJECTS: Final = 50_000
_YOUNG: Final = 20
_OLD: Final = 50


def share_one_arena() -> None:
    """Make all threads allocate from one heap instead of one each: saves 7 MB for thirty threads that copy a version.

    Call it before threads start. It does nothing where the C library has no arenas.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_ARENA_MAX, 1)


def collect_rarely() -> None:
    """Raise the garbage collector's thresholds. Call it once, before the packages are imported."""
    gc.set_threshold(_NEW_OBJECTS, _YOUNG, _OLD)


def skip_final_collection() -> None:
    """Skip the full collection at exit, which frees nothing that the kernel does not. Call it last."""
    gc.freeze()


def load_no_pydantic_plugins() -> None:
    """Keep pydantic from searching every installed package for plugins, which takes 20 ms. Call it before validation.

    A value in the environment stays. Source: `pydantic.plugin._loader.get_plugins` reads PYDANTIC_DISABLE_PLUGINS.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
