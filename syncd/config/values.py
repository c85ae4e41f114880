"""Settings as frozen values: one class for each table of the file, with the defaults and units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from syncd.advice.facts import NAS_BANDWIDTH, START_LIMIT_S, ServingLimits
from syncd.config.fields import (
    AbsolutePath,
    Address,
    Alias,
    ClockTime,
    Endpoint,
    Function,
    HookUrl,
    Host,
    IssuerUrl,
    Listen,
    Model,
    ModelPattern,
    MountDir,
    Rate,
    Region,
    Seconds,
    SecretField,
    Size,
    StateUrl,
    Table,
    TimeZone,
    Variable,
    WeekMoment,
)
from syncd.config.price_list_file import price_list_of
from syncd.config.probes import Duration, ProbeSettings
from syncd.config.registries import DirectoryRegistrySettings, RegistrySettings
from syncd.config.retention import RetentionSettings, ScrubSettings
from syncd.config.strategies import StrategySettings
from syncd.config.targets import ImageTargetSettings, TargetSettings
from syncd.config.trust import ReceiptSettings, TrustSettings
from syncd.cost.price_list import PriceList
from syncd.plan.quota import Quota
from syncd.secret import Secret
from syncd.signals.base import PrometheusSettings
from syncd.values.patterns import selects

if TYPE_CHECKING:
    from sqlalchemy import URL

MIB = 1 << 20

MetricQuery = Annotated[str, Field(min_length=1, max_length=4096)]


class StateSettings(Table):
    """Location of the record."""

    url: StateUrl = "sqlite:////var/lib/syncd/syncd.db"
    password: SecretField | None = None

    @property
    def connect_url(self) -> URL:
        """The URL for SQLAlchemy, with the password, which prints as `***`."""
        from sqlalchemy import make_url  # noqa: PLC0415 -- `config check` needs no database

        url = make_url(self.url)
        return url if self.password is None else url.set(password=self.password.reveal())


class BandwidthTimeSettings(Table):
    """A limit for some hours of each day, over midnight if `from` is later than `to`."""

    since: Annotated[ClockTime, Field(alias="from")]
    to: ClockTime
    limit: Rate


class TransferSettings(Table):
    """Transfer limits of one process."""

    buffer_bytes: Size = 40 * MIB  # 5 parts of 8 MiB, being read, hashed and sent
    parts_in_flight: Annotated[int, Field(ge=1, le=256)] = 5  # sends at once to each target, over all its files
    files_in_flight: Annotated[int, Field(ge=1, le=64)] = 2  # files read at once
    streams_per_host: Annotated[int, Field(ge=1, le=64)] = 16  # requests that read parts at once, over all files
    stall_s: Seconds = 60.0  # a call without progress for so long is abandoned
    files_max: Annotated[int, Field(ge=1, le=10_000_000)] = 1_000_000  # of a version
    version_bytes_max: Size = 16 << 40  # of all files of a version
    bandwidth: Rate = 0  # bytes a second, over all files and targets; 0: no limit
    bandwidth_times: Annotated[tuple[BandwidthTimeSettings, ...], Field(strict=False)] = ()
    time_zone: TimeZone = ZoneInfo("UTC")
    sources: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("registry",)  # by preference
    leaf_digests: bool = False  # of large files, beside the seal


class FreezeTimeSettings(Table):
    """A part of each week without flips, over its end if `from` is later than `to`."""

    since: Annotated[WeekMoment, Field(alias="from")]
    to: WeekMoment
    models: Annotated[tuple[ModelPattern, ...], Field(strict=False, min_length=1)] = ("*",)


class PolicySettings(Table):
    """Policies, intervals and limits of releases."""

    auto_release: bool = True
    strategies: Annotated[tuple[StrategySettings, ...], Field(strict=False)] = ()  # the first that fits a model
    approval: Annotated[tuple[ModelPattern, ...], Field(strict=False)] = ()  # models that wait for `syncd approve`
    freeze_times: Annotated[tuple[FreezeTimeSettings, ...], Field(strict=False)] = ()
    time_zone: TimeZone = ZoneInfo("UTC")  # of `freeze_times`
    step_failures_max: Annotated[int, Field(ge=1, le=1000)] = 20
    retry_base_s: Seconds = 2.0
    retry_cap_s: Seconds = 300.0
    lease_s: Seconds = 60.0
    tick_s: Seconds = 1.0
    stage_poll_s: Seconds = 2.0
    stage_timeout_s: Seconds = 900.0
    stage_image_timeout_s: Seconds = 2400.0  # the platform may take 40 minutes to make its own copy of an image
    drain_s: Seconds = 30.0
    drift: Literal["report", "adopt", "restore"] = "report"  # action on a manual change
    drift_poll_s: Seconds = 300.0  # how often aliases and functions are compared with the record
    trust: TrustSettings | None = None  # without it nothing is evaluated


class ApiSettings(Table):
    """The HTTP API. TLS is the task of a proxy in front of it."""

    listen: Listen = ""
    trusted_proxies: Annotated[tuple[Address, ...], Field(strict=False)] = ("127.0.0.1",)  # of X-Forwarded-For


ShortTexts = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(strict=False)]


class UiSettings(Table):
    """The dashboard, `/ui` of the HTTP API."""

    enabled: bool = True
    issuer: IssuerUrl | None = None  # of the OpenID provider where people sign in; without it, with tokens only
    client_id: Annotated[str, Field(max_length=200)] = ""
    client_secret: SecretField | None = None
    public_url: Endpoint | None = None  # of this syncd, as browsers see it
    claim: Annotated[str, Field(min_length=1, max_length=200)] = "groups"
    roles_read: ShortTexts = ()  # values of that claim
    roles_publish: ShortTexts = ()
    roles_operate: ShortTexts = ()
    scopes: ShortTexts = ("openid", "email", "groups")

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """The values that give each role."""
        return {"read": self.roles_read, "publish": self.roles_publish, "operate": self.roles_operate}


class AdviceSettings(Table):
    """What `syncd advise` reckons with: figures of the guidance that differ from one account to the next."""

    nas_bandwidth: Annotated[Rate, Field(gt=0)] = NAS_BANDWIDTH  # bytes a second, of one file system
    start_limit_s: Seconds = START_LIMIT_S  # how long an instance may take to start

    @property
    def limits(self) -> ServingLimits:
        """As values."""
        return ServingLimits(self.nas_bandwidth, self.start_limit_s)


class CostSettings(Table):
    """The site of the account, and a price list of one's own instead of the shipped one."""

    site: Literal["china", "international"] = "china"
    prices: AbsolutePath | None = None

    def price_list(self) -> PriceList:
        """The price list. Raises Invalid: its file cannot be read, or a row is wrong."""
        return price_list_of(self.prices)


class HookSettings(Table):
    """A webhook, `POST /hooks/NAME`, of a sender that signs with a secret or shows it."""

    kind: Literal["mlflow", "huggingface", "oci", "harbor", "acr", "dockerhub", "github", "standard", "cloudevents"]
    secret: SecretField
    secret_before: SecretField | None = None  # also valid, during a rotation of the secret
    registry: str | None = None  # default: the registry of the same name
    window_s: Seconds = 300.0  # how old a signed timestamp may be, and how far ahead


class EventBridgeHookSettings(Table):
    """A webhook that EventBridge calls: signed with its region's key, bound to this syncd by `url` and `secret`."""

    kind: Literal["eventbridge"]
    url: HookUrl
    secret: SecretField
    secret_before: SecretField | None = None
    registry: str | None = None
    window_s: Seconds = 60.0
    region: Region | None = None  # whose certificate is trusted; default: every region of the configuration
    certificate: AbsolutePath | None = None  # default: fetched from the region's address, once a day


class CredentialsSettings(Table):
    """An access key. `security_token` is for temporary keys."""

    access_key_id: Annotated[str, Field(min_length=1, max_length=128)]
    access_key_secret: SecretField
    security_token: SecretField | None = None


class FcRuntimeSettings(Table):
    """Function Compute in one region."""

    kind: Literal["fc"]
    region: Region
    endpoint: Host
    credentials: str
    protocol: Literal["https", "http"] = "https"
    connect_timeout_s: Seconds = 5.0
    read_timeout_s: Seconds = 30.0
    calls_in_flight: Annotated[int, Field(ge=1, le=64)] = 4  # concurrent calls to the region, except probes
    instances_max: Annotated[int, Field(ge=0)] = 0  # quota of instances; 0: not configured
    gpus_max: Mapping[str, Annotated[int, Field(ge=0)]] = {}  # quota by card, "*" for all together

    @property
    def quota(self) -> Quota:
        """What the account may hold in the region."""
        return Quota(self.instances_max, self.gpus_max)


class VariableSettings(Table):
    """The function's environment variables that describe the mounts. `versions` is for root mounts."""

    digest: Variable | None = None
    path: Variable | None = None
    version: Variable | None = None
    versions: Variable | None = None


class ServedModelSettings(Table):
    """One model of a binding: its target and mount directory. An image target gives the directory itself."""

    model: Model
    target: str
    mount_dir: MountDir | None = None
    mount: Literal["version", "root"] = "version"
    env: VariableSettings = Field(default_factory=VariableSettings)


class BindingSettings(Table):
    """A function's alias, and the models it serves.

    `candidate` is the alias for probes, `previous` the one that keeps the previous version prewarmed.
    """

    runtime: str
    function: Function
    models: Annotated[tuple[ServedModelSettings, ...], Field(strict=False, min_length=1)]
    alias: Alias = "prod"
    candidate: Alias = "prod-candidate"
    probe: ProbeSettings = Field(default_factory=ProbeSettings)
    warm: Annotated[int, Field(ge=0, le=1000)] = 0  # instances prewarmed for a version before its probe
    warm_timeout_s: Seconds = 900.0
    rollback_warm: Duration = 0.0  # how long the previous version stays prewarmed after the flip
    previous: Alias = "prod-previous"
    proof: Literal["none", "sample", "full"] = "none"  # what a function proves of its memory before the alias moves


RuntimeSettings = FcRuntimeSettings
AnyHookSettings = HookSettings | EventBridgeHookSettings


class PrometheusSignalSettings(Table):
    """`[signals.NAME]`: one metric that canary analysis reads, from Prometheus or a server with its HTTP API."""

    kind: Literal["prometheus"]
    url: Endpoint  # the base of /api/v1/query
    query: MetricQuery
    at_most: Annotated[float, Field(allow_inf_nan=False)]  # a larger value is bad
    samples_query: MetricQuery
    samples_min: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0  # with fewer, the value is not conclusive
    user: str = ""
    token: SecretField | None = None

    @property
    def figure(self) -> PrometheusSettings:
        """The values for the signals package."""
        return PrometheusSettings(self.url, self.query, self.at_most, self.samples_query, self.samples_min)


class NotifierSettings(Table):
    """`[notify.NAME]`: a receiver of notifications."""

    kind: Literal["webhook", "slack", "dingtalk", "feishu", "wecom"]
    url: SecretField  # the address has a key in it, except for a webhook
    secret: SecretField | None = None  # of the signature: webhook, dingtalk, feishu
    models: Annotated[tuple[ModelPattern, ...], Field(strict=False, min_length=1)] = ("*",)
    events: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, min_length=1)] = ("*",)
    severity: Literal["info", "warning", "critical"] = "warning"  # the least that is sent


@dataclass(frozen=True, slots=True)
class Config:
    """The checked configuration. Every name in it refers to an existing table."""

    path: Path
    state: StateSettings
    transfer: TransferSettings
    policy: PolicySettings
    api: ApiSettings
    registries: Mapping[str, RegistrySettings]
    credentials: Mapping[str, CredentialsSettings]
    targets: Mapping[str, TargetSettings]
    runtimes: Mapping[str, RuntimeSettings]
    bindings: Mapping[str, BindingSettings]
    hooks: Mapping[str, AnyHookSettings]
    receipts: ReceiptSettings = field(default_factory=ReceiptSettings)
    signals: Mapping[str, PrometheusSignalSettings] = field(default_factory=dict)
    notify: Mapping[str, NotifierSettings] = field(default_factory=dict)
    cost: CostSettings = field(default_factory=CostSettings)
    advice: AdviceSettings = field(default_factory=AdviceSettings)
    ui: UiSettings = field(default_factory=UiSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    scrub: ScrubSettings = field(default_factory=ScrubSettings)

    def models(self) -> tuple[str, ...]:
        """Every model that a binding serves, in order."""
        return tuple(sorted({served.model for binding in self.bindings.values() for served in binding.models}))

    @property
    def image_targets(self) -> dict[str, ImageTargetSettings]:
        """The targets that are image repositories, by name."""
        return {name: target for name, target in self.targets.items() if isinstance(target, ImageTargetSettings)}

    def registry_of(self, model: str) -> str | None:
        """The registry of `model`; None if no registry's patterns select it."""
        return next((name for name, r in self.registries.items() if any(selects(p, model) for p in r.models)), None)

    def regions(self) -> frozenset[str]:
        """Every region that a registry, a target or a runtime is in."""
        tables = (*self.registries.values(), *self.targets.values(), *self.runtimes.values())
        return frozenset(region for table in tables if (region := getattr(table, "region", None)))

    def named_secrets(self) -> Iterator[tuple[tuple[str, ...], Secret]]:
        """Every secret of the configuration with its key."""
        named: Iterable[tuple[str, str, object]] = (
            ("state", "", self.state),
            ("receipts", "", self.receipts),
            ("ui", "", self.ui),
            *(
                (section, name, table)
                for section in ("credentials", "registries", "targets", "runtimes", "hooks", "signals", "notify")
                for name, table in sorted(getattr(self, section).items())
            ),
        )
        for section, name, table in named:
            for field_name, value in vars(table).items():
                if isinstance(value, Secret):
                    yield (section, name, field_name) if name else (section, field_name), value

    def secrets(self) -> tuple[Secret, ...]:
        """Every secret of the configuration, to keep out of output."""
        return tuple(secret for _, secret in self.named_secrets())


__all__ = [
    "AdviceSettings",
    "AnyHookSettings",
    "ApiSettings",
    "BandwidthTimeSettings",
    "BindingSettings",
    "Config",
    "CostSettings",
    "CredentialsSettings",
    "DirectoryRegistrySettings",
    "EventBridgeHookSettings",
    "FcRuntimeSettings",
    "HookSettings",
    "PolicySettings",
    "ProbeSettings",
    "ReceiptSettings",
    "RegistrySettings",
    "RuntimeSettings",
    "ServedModelSettings",
    "StateSettings",
    "StrategySettings",
    "Table",
    "TransferSettings",
    "VariableSettings",
]
