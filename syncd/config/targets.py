"""Settings of targets: a prefix of a bucket, a directory of a NAS, or a repository of images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from syncd.config.fields import (
    AbsolutePath,
    BucketTable,
    Endpoint,
    ImageDirectory,
    ImageName,
    ImageRepository,
    NasServer,
    Region,
    Seconds,
    SecretField,
    Size,
    Table,
)


class OssTargetSettings(BucketTable):
    """A prefix of a bucket. `mount_endpoint` is the bucket's endpoint as functions see it."""

    kind: Literal["oss"]
    mount_endpoint: Endpoint | None = None
    internal_endpoint: Endpoint | None = None  # `syncd worker` of the bucket's region uses it in place of `endpoint`
    accelerator: Endpoint | None = None  # functions mount through it instead
    accelerator_bytes: Size | None = None  # its capacity
    mode: Literal["sent", "replicated"] = "sent"  # replicated: OSS brings the objects from `replicated_from`
    replicated_from: str = ""
    replication_deadline_s: Seconds = 7200.0


class NasTargetSettings(Table):
    """A directory of a NAS: `path` as this machine sees it, `server` and `server_path` as functions mount it."""

    kind: Literal["nas"]
    region: Region
    path: AbsolutePath
    server: NasServer
    server_path: AbsolutePath = Path("/")
    mount_marker: str = ""  # a file that must exist in `path`; without it the NAS counts as not mounted


class ImageTargetSettings(Table):
    """A repository of images: a version becomes layers over `base`. `served_from` is its name as functions use it."""

    kind: Literal["image"]
    region: Region
    repository: ImageRepository
    base: ImageName | None = None  # required, unless the target is replicated
    base_watch: Literal["off", "report", "rebuild"] = "off"  # action when the base's tag moves
    base_poll_s: Seconds = 3600.0  # how often the tag is resolved
    served_from: ImageRepository | None = None
    user: str = ""  # for the repository's registry, to pull and to push
    password: SecretField | None = None
    directory: ImageDirectory = "/models/{model}"  # directory of the files in the image
    limit_bytes: Size = 30_000_000_000  # base and layers, as stored in the repository; 10 GB for CPU functions
    mode: Literal["sent", "replicated"] = "sent"  # replicated: the registry brings the images from `replicated_from`
    replicated_from: str = ""
    replication_deadline_s: Seconds = 7200.0

    def directory_of(self, model: str) -> str:
        """The directory of a model's files."""
        return self.directory.replace("{model}", model)


TargetSettings = OssTargetSettings | NasTargetSettings | ImageTargetSettings
