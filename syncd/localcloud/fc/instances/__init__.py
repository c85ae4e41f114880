"""Function instances as local processes, with their mounts."""

from syncd.localcloud.fc.instances.pool import Instance, InstancePool

__all__ = ["Instance", "InstancePool"]
