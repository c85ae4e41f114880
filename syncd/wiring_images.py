"""Wiring of images: logins, repositories, and image targets.

The adapters are imported on use: most commands contact no registry.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from syncd.config import Config, ImageTargetSettings, OciRegistrySettings
from syncd.config.registries import registry_at
from syncd.lazy_mapping import LazyMapping

if TYPE_CHECKING:
    from syncd.http.auth import Auth
    from syncd.oci.push import RateLimit
    from syncd.oci.references import Reference
    from syncd.oci.repository import Repository
    from syncd.targets.image import ImageTarget

_UPLOAD_HELPER: Final = (sys.executable, "-m", "syncd.daemon.upload_helper")
_IMAGES_S: Final = 300.0  # a registry over an object store copies a whole layer before it answers


def login_of(config: Config, settings: OciRegistrySettings) -> Auth | None:
    """The login of an image registry; None for anonymous access."""
    from syncd.http.auth import BasicAuth  # noqa: PLC0415
    from syncd.registry.settings import AccessKey, AcrSettings  # noqa: PLC0415

    if settings.acr is None:
        return None if settings.password is None else BasicAuth(settings.user, settings.password)
    from syncd.registry.oci.acr import AcrLogin  # noqa: PLC0415

    key, acr = config.credentials[settings.acr.credentials], settings.acr
    asks = AccessKey(key.access_key_id, key.access_key_secret, key.security_token)
    return AcrLogin(AcrSettings(acr.instance, acr.region, acr.address, asks))


def login_at(config: Config, image: Reference) -> Auth | None:
    """The login of an image's registry: that of the configured model registry at the same address."""
    found = registry_at(config.registries.values(), image.origin, image.repository)
    return None if found is None else login_of(config, found)


def repositories_of(
    to: str, base: str, login: Auth | None, base_login: Auth | None = None, *, record: str = ""
) -> tuple[Repository, Repository, Reference]:
    """The repository to push to, the repository of the base, and the reference of the base.

    `login` is for the first repository, and for the base if it is in the same registry and `base_login` is not given.
    With `record`, the URL of the record, chunked uploads are completed and noted there even if this process is killed.

    Raises:
        Invalid: A name is not valid.
    """
    from syncd.http.client import HttpClient, HttpSettings  # noqa: PLC0415
    from syncd.oci.errors import explain  # noqa: PLC0415
    from syncd.oci.references import parse_image, parse_repository  # noqa: PLC0415
    from syncd.oci.repository import Repository  # noqa: PLC0415
    from syncd.oci.upload_helper_pool import UploadHelperPool  # noqa: PLC0415
    from syncd.registry.oci.auth import OciAuth  # noqa: PLC0415

    there, below = parse_repository(to), parse_image(base)

    def http(origin: str, known: Auth | None, upload_helpers: UploadHelperPool | None = None) -> HttpClient:
        settings = HttpSettings(origin, _IMAGES_S, upload_helpers=upload_helpers)
        return HttpClient(settings, OciAuth(origin, known), explain)

    home = http(there.origin, login, UploadHelperPool(_UPLOAD_HELPER, record) if record else None)
    source = home if below.origin == there.origin and base_login is None else http(below.origin, base_login)
    return (
        Repository(there.origin, there.repository, home, writes=True),
        Repository(below.origin, below.repository, source),
        below,
    )


def images_of(config: Config, rate: RateLimit | None = None) -> Mapping[str, ImageTarget]:
    """The image targets by name, created on first use; `rate` limits pushes."""
    targets = config.image_targets.items()
    return LazyMapping({name: partial(_image_target, config, name, each, rate) for name, each in targets})


def base_name(config: Config, settings: ImageTargetSettings) -> str:
    """The base image of a target; of a replicated one, that of the target it is replicated from."""
    source = config.targets.get(settings.replicated_from)
    return settings.base or (source.base if isinstance(source, ImageTargetSettings) else None) or ""


def _image_target(config: Config, name: str, settings: ImageTargetSettings, rate: RateLimit | None) -> ImageTarget:
    from syncd.http.auth import BasicAuth  # noqa: PLC0415
    from syncd.oci.build import BuildSettings  # noqa: PLC0415
    from syncd.oci.references import parse_image, parse_repository  # noqa: PLC0415
    from syncd.targets.image import ImageSettings, ImageTarget  # noqa: PLC0415

    there, below = parse_repository(settings.repository), parse_image(base_name(config, settings))
    login = login_at(config, there) if settings.password is None else BasicAuth(settings.user, settings.password)
    base_login = None if below.origin == there.origin else login_at(config, below)
    record = config.state.connect_url.render_as_string(hide_password=False)
    repository, source, base = repositories_of(settings.repository, str(below), login, base_login, record=record)
    served_from = settings.served_from or settings.repository
    bake = BuildSettings(limit_bytes=settings.limit_bytes, pace=rate)
    made = ImageSettings(base, settings.directory, served_from, bake)
    return ImageTarget(name, repository, source, made)
