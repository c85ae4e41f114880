"""OSS of one region: buckets and objects on disk, behind the wire format its real clients speak."""
