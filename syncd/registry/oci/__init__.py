"""Registry implementation over an image repository: tags are versions, manifest digests are pins."""

__all__ = ["acr", "auth", "layers", "registry", "tarball"]
