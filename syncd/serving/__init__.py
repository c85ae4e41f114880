"""The in-function half: finds the live version on a mount, loads it checked, proves it, and switches models.

It imports the standard library only, and works from a copied folder: no other part of syncd is needed in a function's
image.
"""

from .arena import Arena
from .challenge import Challenge, parse_challenge
from .errors import NoRoom, NotSealed, ServingError, UnreadableMount, WrongBytes
from .function import ServedModels
from .listener import serve
from .loader import LoadedModel, Tensor, load
from .seal import ModelSource, SealedVersion, find_models, read_seal
from .switcher import ModelSwitcher

__all__ = [
    "Arena",
    "Challenge",
    "LoadedModel",
    "ModelSource",
    "ModelSwitcher",
    "NoRoom",
    "NotSealed",
    "SealedVersion",
    "ServedModels",
    "ServingError",
    "Tensor",
    "UnreadableMount",
    "WrongBytes",
    "find_models",
    "load",
    "parse_challenge",
    "read_seal",
    "serve",
]
