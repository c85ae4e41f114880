"""Image repositories: a client that pushes, and the builder that layers a version's files over a base image."""

__all__ = [
    "build",
    "copy_image",
    "errors",
    "images",
    "layers",
    "push",
    "references",
    "repository",
    "upload_helper",
    "upload_helper_pool",
    "uploads",
]
