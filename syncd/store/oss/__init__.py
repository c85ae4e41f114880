"""Store implementation over an Alibaba Cloud OSS bucket."""

__all__ = [
    "connection",
    "errors",
    "http",
    "requests",
    "responses",
    "sdk",
    "send",
    "settings",
    "signing",
    "store",
    "upload",
]
