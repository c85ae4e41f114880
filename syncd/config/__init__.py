"""TOML and environment to frozen values, refused with every problem named: file, key, found, wanted."""

from syncd.config.check import warnings
from syncd.config.load import load
from syncd.config.problems import ConfigProblems, Problem
from syncd.config.registries import (
    DirectoryRegistrySettings,
    HttpRegistrySettings,
    HubRegistrySettings,
    MlflowRegistrySettings,
    OciRegistrySettings,
    OssRegistrySettings,
    RegistrySettings,
)
from syncd.config.values import (
    AnyHookSettings,
    ApiSettings,
    BindingSettings,
    Config,
    CredentialsSettings,
    EventBridgeHookSettings,
    FcRuntimeSettings,
    HookSettings,
    NasTargetSettings,
    OssTargetSettings,
    PolicySettings,
    ProbeSettings,
    ServedModelSettings,
    StateSettings,
    TargetSettings,
    TransferSettings,
    VariableSettings,
)

__all__ = [
    "AnyHookSettings",
    "ApiSettings",
    "BindingSettings",
    "Config",
    "ConfigProblems",
    "CredentialsSettings",
    "DirectoryRegistrySettings",
    "EventBridgeHookSettings",
    "FcRuntimeSettings",
    "HookSettings",
    "HttpRegistrySettings",
    "HubRegistrySettings",
    "MlflowRegistrySettings",
    "NasTargetSettings",
    "OciRegistrySettings",
    "OssRegistrySettings",
    "OssTargetSettings",
    "PolicySettings",
    "ProbeSettings",
    "Problem",
    "RegistrySettings",
    "ServedModelSettings",
    "StateSettings",
    "TargetSettings",
    "TransferSettings",
    "VariableSettings",
    "load",
    "warnings",
]
