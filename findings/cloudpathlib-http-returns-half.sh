#!/usr/bin/env bash
# Guess (before the run): with a kept cache, cloudpathlib never takes a download that was interrupted for the whole.
#   (Met on the way: what it does when the connection breaks.)
# Found: an HttpPath does not compare what it got with Content-Length. When the connection ends early, `fspath` returns
#   what arrived, without an error; it stays in the cache and is returned again. After a process was killed instead,
#   each later call raises OverwriteNewerLocalError, since the part in the cache is newer than the file there: no
#   retry heals it.
# Version: cloudpathlib 0.26.0.
# Why it matters: weights that are loaded by a path like `https://…/m.safetensors` are cut off exactly when a proxy
#   or a load balancer ends a long response, which is when models are transferred. The size or a digest must be checked
#   by the caller.
# Source: run here; cloudpathlib/http/httpclient.py (_download_file); Python's http.client raises IncompleteRead for
#   read() but not for read(n).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy ALL_PROXY all_proxy
python3 -m venv venv
venv/bin/pip -q install cloudpathlib==0.26.0 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import http.server, pathlib, subprocess, sys, threading, time

SIZE = 4 << 20
mode = ["whole"]

class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        for name, value in {"Content-Length": SIZE, "ETag": '"one"', "Last-Modified": "Sun, 29 Nov 2026 10:00:00 GMT"}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self.wfile.write(b"1" * (SIZE if mode[0] == "whole" else SIZE // 2))
        except OSError:
            return  # the caller only asked whether it exists
        if mode[0] == "slow":
            time.sleep(60)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
FETCH = """
import sys
from cloudpathlib import HttpClient
client = HttpClient(local_cache_dir=sys.argv[2])
print(len(open(client.CloudPath(sys.argv[1]).fspath, "rb").read()))
"""

def fetch(cache, kill=False):
    done = subprocess.Popen([sys.executable, "-c", FETCH, f"http://127.0.0.1:{server.server_port}/m.bin", cache],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if kill:
        for _ in range(600):
            if any(f.is_file() and f.stat().st_size >= SIZE // 4 for f in pathlib.Path(cache).rglob("*")):
                break
            time.sleep(0.05)
        done.kill()
    out, err = done.communicate(timeout=60)
    return out.strip() or ("killed" if kill else "raises " + err.strip().splitlines()[-1].split(":")[0].rsplit(".")[-1])

seen = {}
for fault in ("cut", "slow"):
    mode[0] = fault
    first = fetch(fault, kill=fault == "slow")
    mode[0] = "whole"
    seen[fault] = first, fetch(fault), fetch(fault)
    print(f"{fault}: bytes of {SIZE} at first, then with a good connection, twice: {seen[fault]}")
half = seen["cut"][0].isdigit() and int(seen["cut"][0]) == SIZE // 2
sys.exit(0 if half and seen["slow"][1:] == ("raises OverwriteNewerLocalError",) * 2 else 1)
PY
