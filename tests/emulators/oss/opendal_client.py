"""A program that drives OpenDAL and prints what it found as JSON."""

import json
import sys
from typing import Any

import opendal


def surface(op: Any) -> dict[str, Any]:
    """Write, read, list, copy and remove."""
    told: dict[str, Any] = {}
    op.write("d/a b+é", b"abcdef" * 1000)
    told["read"] = op.read("d/a b+é") == b"abcdef" * 1000
    with op.open("d/a b+é", "rb") as file:
        file.seek(1)
        told["range"] = bytes(file.read(3)).decode()
    with op.open("d/big", "wb") as file:
        for _ in range(4):
            file.write(b"q" * 3_000_000)
    told["multipart"] = op.stat("d/big").content_length
    op.copy("d/big", "d/copy")
    told["copied"] = op.stat("d/copy").content_length == told["multipart"]
    op.create_dir("d/sub/")
    told["listed"] = sorted(entry.path for entry in op.list("d/") if entry.path != "d/")
    op.remove_all("d/")
    told["left"] = [entry.path for entry in op.list("d/")]
    try:
        op.read("none")
    except opendal.exceptions.NotFound:
        told["missing"] = "NotFound"
    return told


def main() -> None:
    """Arguments: bucket, key id, secret. The proxy of the environment knows where `oss.local` is."""
    bucket, key_id, secret = sys.argv[1:]
    op = opendal.Operator(
        "oss",
        bucket=bucket,
        endpoint="http://oss.local",
        access_key_id=key_id,
        access_key_secret=secret,
        addressing_style="virtual",
        root="/",
    )
    try:
        told = surface(op)
    except (opendal.exceptions.PermissionDenied, opendal.exceptions.NotFound) as error:
        told = {"error": str(error)}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
