"""A program that drives OpenDAL and prints what it found as JSON."""

import json
import sys
from typing import Any

import opendal


def surface(op: Any) -> dict[str, Any]:
    """Write, read, list, copy and remove."""
    output: dict[str, Any] = {}
    op.write("d/a b+é", b"abcdef" * 1000)
    output["read"] = op.read("d/a b+é") == b"abcdef" * 1000
    with op.open("d/a b+é", "rb") as file:
        file.seek(1)
        output["range"] = bytes(file.read(3)).decode()
    with op.open("d/big", "wb") as file:
        for _ in range(4):
            file.write(b"q" * 3_000_000)
    output["multipart"] = op.stat("d/big").content_length
    op.copy("d/big", "d/copy")
    output["copied"] = op.stat("d/copy").content_length == output["multipart"]
    op.create_dir("d/sub/")
    output["listed"] = sorted(entry.path for entry in op.list("d/") if entry.path != "d/")
    op.remove_all("d/")
    output["left"] = [entry.path for entry in op.list("d/")]
    try:
        op.read("none")
    except opendal.exceptions.NotFound:
        output["missing"] = "NotFound"
    return output


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
        output = surface(op)
    except (opendal.exceptions.PermissionDenied, opendal.exceptions.NotFound) as error:
        output = {"error": str(error)}
    json.dump(output, sys.stdout)


if __name__ == "__main__":
    main()
