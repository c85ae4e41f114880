"""One region of OSS, Function Compute and NAS, as a process of its own.

It is written from the public documentation of the two services and shares no code with syncd or its local cloud, so an
assumption that those two share is checked by something that does not share it:

* OSS: "Include a V4 signature in the Authorization header", "Multipart upload", "Error codes" (help.aliyun.com/zh/oss).
* Function Compute 3.0 (API 2023-03-30): "Version management", "Alias management", "Mount an OSS bucket", "Mount a NAS
  file system", "Status and invocation of custom image functions" (help.aliyun.com/zh/functioncompute), and "ACS3".

An operation that is not played is refused by name. Where the documentation is silent the stricter behaviour is played.
"""
