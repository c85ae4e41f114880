"""What of the wiring is about images: logins, repositories, and the targets that are made of them.

The adapters are imported by those who need them: most commands contact no registry.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from syncd.config import Config, ImageTargetSettings, OciRegistrySettings
from syncd.config.registries import registry_at
from syncd.lazy_mapping import LazyMapping
from syncd.plan.topology import BasePolicy, BaseWatch

if TYPE_CHECKING:
    from syncd.http.auth import Auth
    from syncd.oci.push import RateLimit
    from syncd.oci.references import Reference
    from syncd.oci.repository import Repository
    from syncd.targets.image import ImageTarget

_COURIER: Final = (sys.executable, "-m", "syncd.daemon.upload_helper")
_IMAGES_S: Final = 300.0  # a registry over an object store copies a whole layer before it says that it has it


def login_of(config: Config, settings: OciRegistrySettings) -> Auth | None:
    """How a registry of images is logged in to; None for nobody."""
    from syncd.http.auth import BasicAuth  # noqa: PLC0415
    from syncd.registry.settings import AccessKey, AcrSettings  # noqa: PLC0415

    if settings.acr is None:
        return None if settings.password is None else BasicAuth(settings.user, settings.password)
    from syncd.registry.oci.acr import AcrLogin  # noqa: PLC0415

    key, acr = config.credentials[settings.acr.credentials], settings.acr
    asks = AccessKey(key.access_key_id, key.access_key_secret, key.security_token)
    return AcrLogin(AcrSettings(acr.instance, acr.region, acr.address, asks))


def login_at(config: Config, image: Reference) -> Auth | None:
    """What the configuration has for a registry of images: the login of the registry of models at the same address."""
    found = registry_at(config.registries.values(), image.origin, image.repository)
    return None if found is None else login_of(config, found)


def repositories_of(
    to: str, base: str, login: Auth | None, base_login: Auth | None = None, *, record: str = ""
) -> tuple[Repository, Repository, Reference]:
    """Where images are pushed, where the base lies, and what of it is meant.

    `login` is for the first one's registry, and for the base if that is there too and `base_login` is not given. With a
    `record`, the URL of it, chunks that were begun are ended and noted there even if this process is killed.

    Raises:
        Invalid: A name is none.
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

    home = http(there.origin, login, UploadHelperPool(_COURIER, record) if record else None)
    source = home if below.origin == there.origin and base_login is None else http(below.origin, base_login)
    return (
        Repository(there.origin, there.repository, home, writes=True),
        Repository(below.origin, below.repository, source),
        below,
    )


def images_of(config: Config, pace: RateLimit | None = None) -> Mapping[str, ImageTarget]:
    """The targets that are repositories of images, by name, each made when asked for. `pace` is for pushes."""
    makers = {name: partial(_image_target, config, name, made, pace) for name, made in image_targets(config).items()}
    return LazyMapping(makers)


def image_targets(config: Config) -> dict[str, ImageTargetSettings]:
    """Their settings, by name."""
    return {name: target for name, target in config.targets.items() if isinstance(target, ImageTargetSettings)}


def watched_of(config: Config) -> dict[str, BaseWatch]:
    """The targets of images whose base is looked up on a clock, by name."""
    return {
        name: BaseWatch(BasePolicy(target.base_watch), target.base_poll_s)
        for name, target in image_targets(config).items()
        if target.base_watch != "off"
    }


def base_name(config: Config, settings: ImageTargetSettings) -> str:
    """What a target's images lie over: what is replicated lies over the base of where it comes from."""
    source = config.targets.get(settings.replicated_from)
    return settings.base or (source.base if isinstance(source, ImageTargetSettings) else None) or ""


def _image_target(config: Config, name: str, settings: ImageTargetSettings, pace: RateLimit | None) -> ImageTarget:
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
    bake = BuildSettings(limit_bytes=settings.limit_bytes, pace=pace)
    made = ImageSettings(base, settings.directory, served_from, bake)
    return ImageTarget(name, repository, source, made)
