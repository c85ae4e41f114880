"""Container images: tags and digests, and image pulls from a registry on loopback."""

from syncd.localcloud.fc.images.image_table import ImageTable

__all__ = ["ImageTable"]
