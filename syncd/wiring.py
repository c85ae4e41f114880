"""The only place that knows concrete classes: a checked configuration becomes rooms.

The vendors' SDKs, the engine and whatever writes logs take a second to import, so they are imported where one is
made: `syncd status` needs the shape of the fleet and none of them.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from syncd.config import (
    BindingSettings,
    Config,
    FcRuntimeSettings,
    ImageTargetSettings,
    NasTargetSettings,
    OssTargetSettings,
    ServedModelSettings,
)
from syncd.config.probes import GoldenSettings
from syncd.lazy_mapping import LazyMapping
from syncd.plan.binding import Binding, BoundModel, ModelLocation, MountMode, PrewarmPolicy, ProofGrade
from syncd.plan.gate import Gates
from syncd.plan.strategy import Strategies
from syncd.plan.topology import BasePolicy, BaseWatch, Replica, Topology
from syncd.runtime.base import Runtime
from syncd.trust.policy import TrustPolicy
from syncd.values.function import Golden, Latency, MountKind
from syncd.wiring_images import images_of
from syncd.wiring_registries import registries_of
from syncd.wiring_stores import store_of

if TYPE_CHECKING:
    from syncd.reconcile.context import Context, World
    from syncd.reconcile.notifications import Notifier
    from syncd.retry import Retry
    from syncd.signals.base import Signal
    from syncd.state.state import State
    from syncd.targets.base import Target
    from syncd.transfer import Bandwidth, CopySettings, Timetable


def topology_of(config: Config) -> Topology:
    """The topology of a configuration."""
    regions = {name: target.region for name, target in config.targets.items()}
    return Topology(
        bindings={name: _binding(config, name, binding) for name, binding in config.bindings.items()},
        places={name: _place(target) for name, target in _trees(config).items()},
        regions=regions | {name: runtime.region for name, runtime in config.runtimes.items()},
        registries={name: registry.models for name, registry in config.registries.items()},
        replicas=_replicas(config),
        accelerators={
            name: target.accelerator_bytes
            for name, target in config.targets.items()
            if isinstance(target, OssTargetSettings) and target.accelerator_bytes
        },
        sources=config.transfer.sources,
        images=frozenset(config.image_targets),
        watched={
            name: BaseWatch(BasePolicy(target.base_watch), target.base_poll_s)
            for name, target in config.image_targets.items()
            if target.base_watch != "off"
        },
    )


def context_of(config: Config, state: State) -> Context:
    """The context of a daemon, with all adapters. Contacts nothing yet."""
    from syncd.engine.dbos import DbosEngine  # noqa: PLC0415
    from syncd.plan.backoff import RetryPolicy  # noqa: PLC0415
    from syncd.reconcile.context import Context  # noqa: PLC0415

    policy = config.policy
    bandwidth = bandwidth_of(config)
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    return Context(
        state=state,
        engine=DbosEngine(config.state.connect_url.render_as_string(hide_password=False)),
        topology=topology_of(config),
        registries=dict(registries_of(config)),
        targets=dict(targets_of(config)),
        runtimes=runtimes_of(config),
        transfer=copy_settings(config, bandwidth),
        patience=RetryPolicy(policy.step_failures_max, policy.retry_base_s, policy.retry_cap_s),
        lease_s=policy.lease_s,
        owner=owner,
        chance=random.random,
        gates=_gates(config),
        strategies=strategies_of(config),
        trust=trust_of(config),
        signals=_signals(config),
        images=dict(images_of(config, bandwidth)),
        limit_at=partial(_limit_at, config),
        prices=config.cost.price_list,
        site=config.cost.site,
        limits=config.advice.limits,
        retention=config.retention.policy,
        quotas={name: runtime.quota for name, runtime in config.runtimes.items()},
        keys=partial(_keys, config),
    )


def copy_settings(config: Config, bandwidth: Bandwidth | None) -> CopySettings:
    """The bounds of a copy, as configured."""
    from syncd.transfer import CopySettings, StreamLimit  # noqa: PLC0415

    return CopySettings(
        buffer_bytes=config.transfer.buffer_bytes,
        parts_in_flight=config.transfer.parts_in_flight,
        files_in_flight=config.transfer.files_in_flight,
        streams=StreamLimit(config.transfer.streams_per_host),
        bandwidth=bandwidth,
        stall_s=config.transfer.stall_s,
        leaf_digests=config.transfer.leaf_digests,
    )


def _keys(config: Config) -> frozenset[str]:
    """The fingerprints of the access keys as they are now: a file that one is read from may change."""
    from syncd.secret import fingerprint  # noqa: PLC0415

    keys = config.credentials.values()
    return frozenset(fingerprint(key.access_key_id, key.access_key_secret, key.security_token) for key in keys)


def _signals(config: Config) -> dict[str, Signal]:
    from syncd.http.auth import auth_of  # noqa: PLC0415
    from syncd.http.client import HttpClient, HttpSettings, origin_of  # noqa: PLC0415
    from syncd.signals.prometheus import PrometheusSignal, explain  # noqa: PLC0415

    return {
        name: PrometheusSignal(
            signal.figure, HttpClient(HttpSettings(origin_of(signal.url)), auth_of(signal.user, signal.token), explain)
        )
        for name, signal in config.signals.items()
    }


def _gates(config: Config) -> Gates:
    from syncd.plan.gate import Gates, Window  # noqa: PLC0415

    policy = config.policy
    windows = tuple(Window(each.since, each.to, policy.time_zone, each.models) for each in policy.freeze_times)
    return Gates(policy.approval, windows)


def strategies_of(config: Config) -> Strategies:
    """Rollout strategies by model."""
    return Strategies(tuple((each.models, each.strategy) for each in config.policy.strategies))


def trust_of(config: Config) -> TrustPolicy:
    """The trust policy; without its table it has no rules."""
    return TrustPolicy() if config.policy.trust is None else config.policy.trust.policy


def bandwidth_of(config: Config) -> Bandwidth | None:
    """The bandwidth limit of a process, over all targets; None where no hour has one. Create one per process."""
    from syncd.transfer import Bandwidth  # noqa: PLC0415

    settings = config.transfer
    if not settings.bandwidth and not any(each.limit for each in settings.bandwidth_times):
        return None
    return Bandwidth(_timetable(config))


def _timetable(config: Config) -> Timetable:
    from syncd.transfer import RateWindow, Timetable  # noqa: PLC0415

    settings = config.transfer
    hours = tuple(RateWindow(each.since, each.to, each.limit) for each in settings.bandwidth_times)
    return Timetable(settings.bandwidth, hours, settings.time_zone)


def _limit_at(config: Config, at: datetime) -> int:
    return _timetable(config).limit(at)


def world_of(config: Config, state: State) -> World:
    """The read-only world: no engine, so it works beside a running daemon. Each part is created on use."""
    from syncd.reconcile.context import World  # noqa: PLC0415
    from syncd.retry import Retry  # noqa: PLC0415 - a person waits for the answer

    return World(
        state=state,
        topology=topology_of(config),
        registries=registries_of(config),
        targets=targets_of(config, Retry(attempts_max=4, elapsed_max_s=30.0)),
        runtimes=runtimes_of(config),
        strategies=strategies_of(config),
        trust=trust_of(config),
        images=images_of(config) if config.image_targets else {},
        limit_at=partial(_limit_at, config),
        prices=config.cost.price_list,
        site=config.cost.site,
        limits=config.advice.limits,
        retention=config.retention.policy,
        quotas={name: runtime.quota for name, runtime in config.runtimes.items()},
    )


def targets_of(config: Config, policy: Retry | None = None) -> Mapping[str, Target]:
    """The targets by name, each made when it is first asked for. `policy` is how they repeat a call that fails."""
    trees = _trees(config).items()
    return LazyMapping({name: partial(_tree, config, name, settings, policy) for name, settings in trees})


def _tree(config: Config, name: str, settings: OssTargetSettings | NasTargetSettings, policy: Retry | None) -> Target:
    from syncd.targets.versioned_tree import TreeTarget  # noqa: PLC0415

    return TreeTarget(name, store_of(config, settings), policy)


def _trees(config: Config) -> dict[str, OssTargetSettings | NasTargetSettings]:
    return {name: target for name, target in config.targets.items() if not isinstance(target, ImageTargetSettings)}


def runtimes_of(config: Config) -> Mapping[str, Runtime]:
    """The runtimes by name. Their SDK takes 25 MB and half a second, so it is loaded on first use."""
    return LazyMapping({name: partial(_runtime, config, runtime) for name, runtime in config.runtimes.items()})


def _runtime(config: Config, runtime: FcRuntimeSettings) -> Runtime:
    from syncd.runtime.fc.runtime import FcRuntime, FcSettings  # noqa: PLC0415

    key = config.credentials[runtime.credentials]
    return FcRuntime(
        FcSettings(
            region=runtime.region,
            endpoint=runtime.endpoint,
            protocol=runtime.protocol,
            access_key_id=key.access_key_id,
            access_key_secret=key.access_key_secret,
            security_token=key.security_token,
            connect_timeout_s=runtime.connect_timeout_s,
            read_timeout_s=runtime.read_timeout_s,
            poll_s=config.policy.stage_poll_s,
            stage_timeout_s=config.policy.stage_timeout_s,
            image_timeout_s=config.policy.stage_image_timeout_s,
            calls_in_flight=runtime.calls_in_flight,
        )
    )


def _replicas(config: Config) -> dict[str, Replica]:
    return {
        name: Replica(target.replicated_from, target.replication_deadline_s)
        for name, target in config.targets.items()
        if isinstance(target, OssTargetSettings | ImageTargetSettings) and target.mode == "replicated"
    }


def notifiers_of(config: Config) -> list[Notifier]:
    """The receivers of notifications, by name."""
    from syncd.notify.notice import Severity  # noqa: PLC0415
    from syncd.notify.senders import Sender  # noqa: PLC0415
    from syncd.reconcile.notifications import Notifier  # noqa: PLC0415

    return [
        Notifier(name, Sender(name, n.kind, n.url, n.secret), n.models, n.events, Severity(n.severity))
        for name, n in sorted(config.notify.items())
    ]


def _place(settings: OssTargetSettings | NasTargetSettings) -> ModelLocation:
    if isinstance(settings, OssTargetSettings):
        endpoint = settings.accelerator or settings.mount_endpoint or settings.endpoint
        path = f"/{settings.prefix.strip('/')}".rstrip("/")
        return ModelLocation(MountKind.OSS, settings.bucket, path, endpoint)
    return ModelLocation(MountKind.NAS, settings.server, str(settings.server_path).rstrip("/"))


def _binding(config: Config, name: str, settings: BindingSettings) -> Binding:
    return Binding(
        name=name,
        runtime=settings.runtime,
        function=settings.function,
        alias=settings.alias,
        candidate=settings.candidate,
        models=tuple(_bound(config, model) for model in settings.models),
        probe_body=settings.probe.body.encode(),
        probe_timeout_s=settings.probe.timeout_s,
        golden=tuple(_golden(index, golden) for index, golden in enumerate(settings.probe.golden)),
        latency=Latency(latency.calls, latency.p95_s) if (latency := settings.probe.latency) else None,
        load_path=settings.probe.load_path,
        warmth=_warmth(settings),
        proof=ProofGrade(settings.proof),
    )


def _golden(index: int, golden: GoldenSettings) -> Golden:
    name = golden.name or f"golden[{index}]"
    return Golden(name, golden.request, golden.expected, golden.tolerance, golden.fails)


def _warmth(settings: BindingSettings) -> PrewarmPolicy | None:
    if not settings.warm:
        return None
    return PrewarmPolicy(settings.warm, settings.warm_timeout_s, settings.previous, settings.rollback_warm)


def _bound(config: Config, model: ServedModelSettings) -> BoundModel:
    return BoundModel(
        model=model.model,
        target=model.target,
        mode=MountMode.IMAGE if model.target in config.image_targets else MountMode(model.mount),
        mount_dir=model.mount_dir or "",
        digest_variable=model.env.digest or "",
        path_variable=model.env.path or "",
        version_variable=model.env.version or "",
        versions_variable=model.env.versions or "",
    )
