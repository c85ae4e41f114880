"""What configures a registry: plain values, apart from the registries so that reading a configuration loads none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from syncd.secret import Secret


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """What is looked at. `settle_s` is how long a version that has a marker but no list must have been left alone."""

    root: Path
    models: tuple[str, ...] = ("*",)
    settle_s: float = 2.0


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """A JSON index, at `url`."""

    url: str
    models: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class HubSettings:
    """A Hub. With `branch` its head is a version too, named by its commit."""

    endpoint: str
    models: tuple[str, ...]
    branch: str = ""


@dataclass(frozen=True, slots=True)
class ModelScopeSettings:
    """ModelScope. With `region`, files come from that region's own store: only for machines that are in it."""

    endpoint: str
    models: tuple[str, ...]
    region: str = ""


@dataclass(frozen=True, slots=True)
class OciSettings:
    """An image repository. A model's repository is `<prefix><model>`; the prefix ends with '/' unless it is empty."""

    endpoint: str
    models: tuple[str, ...]
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class PrefixSettings:
    """A prefix of a bucket, for messages and for who copies from there; it ends with '/' unless it is empty."""

    bucket: str
    region: str
    prefix: str = ""
    models: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class PaiSettings:
    """A workspace of PAI, by its id; its versions lie in OSS in `region`."""

    endpoint: str
    workspace: str
    region: str
    models: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Who asks the platform."""

    access_key_id: str
    access_key_secret: Secret
    security_token: Secret | None = None


@dataclass(frozen=True, slots=True)
class MlflowSettings:
    """An MLflow server. A version without `ready_file` at its top is not complete; "" wants none.

    With `model_tags` a look at a model asks for the model's own tags too.
    """

    endpoint: str
    models: tuple[str, ...] = ("*",)
    ready_file: str = "MLmodel"
    model_tags: bool = False


@dataclass(frozen=True, slots=True)
class AcrSettings:
    """An instance of Container Registry's Enterprise edition. `api` is where the platform is asked."""

    instance: str
    region: str
    api: str
    key: AccessKey
