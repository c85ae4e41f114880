"""Object Storage Service of one region: buckets and objects on disk behind OSS's wire format."""

from syncd.localcloud.oss.errors import OssError
from syncd.localcloud.oss.region import OssRegion

__all__ = ["OssError", "OssRegion"]
