#!/usr/bin/env bash
# Guess (before the run): a file that needs more than 10 000 parts is refused before the first byte, or gets larger
#   parts.
# Found: obstore.put keeps the part size (5 MiB by default), sends 10 000 parts, and fails on part 10 001, which
#   every store with this interface refuses. Then it aborts the upload and everything sent is gone.
# Version: obstore 0.12.1. The run uses parts of 1 000 bytes, to reach the limit with 10 MB.
# Why it matters: with the default, any file above 48.8 GiB fails after 48.8 GiB were sent, at each try. Merged
#   checkpoints of large models reach that. The part size must be computed from the file's size.
# Source: run here; the default is in the docstring of obstore.put; 10 000 parts is the documented limit of S3 and
#   OSS.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install obstore==0.12.1 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import http.server, re, sys, threading
import obstore
from obstore.store import S3Store

parts, ends = [], []

class Bucket(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        if "uploadId=" in self.path:
            ends.append("completed")
            return self.answer(200, b'<CompleteMultipartUploadResult><Bucket>m</Bucket><Key>k</Key><ETag>"e"</ETag></CompleteMultipartUploadResult>')
        self.answer(200, b"<InitiateMultipartUploadResult><Bucket>m</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>")

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        number = int(re.search(r"partNumber=(\d+)", self.path)[1])
        parts.append(number)
        if number > 10_000:
            return self.answer(400, b"<Error><Code>InvalidArgument</Code><Message>Part number must be between 1 and 10000</Message></Error>")
        self.answer(200, ETag=f'"{number}"')

    def do_DELETE(self):
        ends.append("aborted")
        self.answer(204)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
threading.Thread(target=server.serve_forever, daemon=True).start()
store = S3Store("m", endpoint=f"http://127.0.0.1:{server.server_port}", region="us-east-1", access_key_id="id",
                secret_access_key="secret", client_options={"allow_http": True})
try:
    obstore.put(store, "k", b"w" * 10_050_000, chunk_size=1000, max_concurrency=4)
    result = "stored"
except Exception as error:
    result = type(error).__name__
accepted = sum(number <= 10_000 for number in parts)
print(f"result: {result}; parts accepted before it: {accepted}; upload {ends}")
sys.exit(0 if result != "stored" and accepted == 10_000 and ends == ["aborted"] else 1)
PY
