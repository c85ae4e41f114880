"""Size of a function's instances on Function Compute, from the function as the platform describes it."""

from __future__ import annotations

from typing import Any, Final

from syncd.values.function import InstanceSettings

_MB_OF_A_GB: Final = 1024
_CARD: Final = "fc.gpu."


def instance_settings(function: Any) -> InstanceSettings:
    """The size; memory and disk are in MB there. A card is named `fc.gpu.tesla.1`."""
    gpu = function.gpu_config
    card = str(gpu.gpu_type or "").removeprefix(_CARD) if gpu else ""
    return InstanceSettings(
        card=card,
        gpu_gb=(gpu.gpu_memory_size or 0) / _MB_OF_A_GB if gpu and card else 0.0,
        vcpu=float(function.cpu or 0),
        memory_gb=(function.memory_size or 0) / _MB_OF_A_GB,
        disk_gb=(function.disk_size or 0) / _MB_OF_A_GB,
        concurrency=int(function.instance_concurrency or 1),
    )
