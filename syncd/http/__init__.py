"""HTTP client for registries, image repositories and signals: bounded responses, checked redirects, authentication."""

__all__ = ["auth", "client", "decompress", "download", "responses", "ssrf"]
