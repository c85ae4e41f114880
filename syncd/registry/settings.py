"""Settings of registries: plain values, separate from the registries so that parsing a configuration imports none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from syncd.errors import Invalid
from syncd.secret import Secret


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a version may be: `transfer.files_max` and `transfer.version_bytes_max`."""

    files_max: int = 1_000_000
    version_bytes_max: int = 16 << 40

    def check_count(self, count: int, what: str) -> None:
        """Raises Invalid: There are more files than allowed."""
        if count > self.files_max:
            raise Invalid(
                f"{what} has more than {self.files_max} files",
                hint="split the version, leave files out of it, or raise `transfer.files_max`",
            )

    def check_size(self, size_bytes: int, what: str) -> None:
        """Raises Invalid: The files have more bytes than allowed."""
        if size_bytes > self.version_bytes_max:
            raise Invalid(
                f"{what} has {size_bytes} bytes, the limit is {self.version_bytes_max}",
                hint="split the version, leave files out of it, or raise `transfer.version_bytes_max`",
            )


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class DirectorySettings:
    """A directory. `settle_s` is how long a version with a marker and no list must be unchanged."""

    root: Path
    models: tuple[str, ...] = ("*",)
    settle_s: float = 2.0
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """A JSON index, at `url`."""

    url: str
    models: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class HubSettings:
    """A Hub. With `branch` its head is a version too, named after its commit."""

    endpoint: str
    models: tuple[str, ...]
    branch: str = ""


@dataclass(frozen=True, slots=True)
class ModelScopeSettings:
    """ModelScope. With `region`, files come from that region's own store: only for machines in that region."""

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
    """A prefix of a bucket, for messages and server-side copies; it ends with '/' unless it is empty."""

    bucket: str
    region: str
    prefix: str = ""
    models: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class PaiSettings:
    """A workspace of PAI, by its id; its versions are in OSS in `region`."""

    endpoint: str
    workspace: str
    region: str
    models: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Credentials for the platform."""

    access_key_id: str
    access_key_secret: Secret
    security_token: Secret | None = None


@dataclass(frozen=True, slots=True)
class MlflowSettings:
    """An MLflow server. A version without `ready_file` at its top is not complete; "" requires none.

    With `model_tags` discovery fetches the model's own tags too.
    """

    endpoint: str
    models: tuple[str, ...] = ("*",)
    ready_file: str = "MLmodel"
    model_tags: bool = False


@dataclass(frozen=True, slots=True)
class AcrSettings:
    """An instance of Container Registry's Enterprise edition. `api` is the platform's endpoint."""

    instance: str
    region: str
    api: str
    key: AccessKey
