#!/usr/bin/env bash
# Guess (before the run): a download into a kept cache that is interrupted leaves nothing that the next call takes
#   for the whole file.
# Found: `simplecache::` writes to the final name in the cache. A process that is killed, or a connection that breaks
#   and raises, leaves the first part there; from then on every open returns that part without an error and reads
#   nothing from the server, in other processes, too. `filecache::` is right.
# Version: fsspec 2026.9.0.
# Why it matters: `cache_storage` on a volume that workers share is a usual way to hold models near them. One broken
#   connection makes all of them load half a file until somebody empties the cache.
# Source: run here; fsspec/implementations/cached.py (SimpleCacheFileSystem).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy ALL_PROXY all_proxy
python3 -m venv venv
venv/bin/pip -q install fsspec==2026.9.0 aiohttp==3.14.5 2> pip.log || { cat pip.log; exit 2; }
cat > fetch.py <<'PY'
import sys
import fsspec

how, url, cache = sys.argv[1:]
print(len(fsspec.open(f"{how}::{url}", **{how: {"cache_storage": cache}}).open().read()))
PY
venv/bin/python - <<'PY'
import http.server, pathlib, subprocess, sys, threading, time

SIZE = 4 << 20
mode, reads = ["whole"], []

class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        bounds = (self.headers["Range"] or f"bytes=0-{SIZE - 1}").removeprefix("bytes=").split("-")
        first, last = int(bounds[0]), min(int(bounds[1] or SIZE), SIZE - 1)
        self.send_response(206 if self.headers["Range"] else 200)
        for name, value in {"Content-Length": last - first + 1, "ETag": '"one"', "Last-Modified": "Sun, 29 Nov 2026 10:00:00 GMT",
                            "Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{last}/{SIZE}"}.items():
            if name != "Content-Range" or self.headers["Range"]:
                self.send_header(name, str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        reads.append(self.path)
        try:
            self.wfile.write(b"1" * ((last - first + 1) if mode[0] == "whole" else SIZE // 2))
        except OSError:
            return  # the caller has read what it wanted
        if mode[0] == "slow":
            time.sleep(60)  # the caller is killed meanwhile

    do_HEAD = do_GET

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()

def fetch(how, cache, kill=False):
    done = subprocess.Popen([sys.executable, "fetch.py", how, f"http://127.0.0.1:{server.server_port}/m.bin", cache],
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
for how in ("simplecache", "filecache"):
    for fault in ("slow", "cut"):
        cache = f"{how}-{fault}"
        pathlib.Path(cache).mkdir()
        mode[0] = fault
        first = fetch(how, cache, kill=fault == "slow")
        mode[0] = "whole"
        reads.clear()
        seen[how, fault] = fetch(how, cache)
        print(f"{how:13} first: {first:32} afterwards: {seen[how, fault]} of {SIZE}, {len(reads)} reads", flush=True)
half = int(seen["simplecache", "slow"]) < SIZE and int(seen["simplecache", "cut"]) < SIZE
right = seen["filecache", "slow"] == seen["filecache", "cut"] == str(SIZE)
sys.exit(0 if half and right else 1)
PY
