"""Store implementation over an Alibaba Cloud OSS bucket."""

__all__ = [
    "bucket",
    "connection",
    "errors",
    "http",
    "requests",
    "responses",
    "sdk",
    "settings",
    "signing",
    "store",
    "upload",
]
