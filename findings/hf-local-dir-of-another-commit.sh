#!/usr/bin/env bash
# Guess (before the run): a second commit into the same local_dir removes the files that only the first had; with
#   the Hub unreachable an incomplete snapshot in the cache raises.
# Found: the second is right (IncompleteSnapshotError or LocalEntryNotFoundError), the first is not: the shards of
#   both commits lie side by side. Not guessed, met on the way: with local_dir and the Hub unreachable, the call for a
#   full commit id returns the directory as a success, whatever commit is in it; here the configuration of the second
#   commit is returned for the first. A line in the log says "Defaulting to existing file".
# Version: huggingface_hub 2.4.0.
# Why it matters: "pinned by commit" holds only while the Hub answers. A function or job that refreshes a directory
#   during an outage serves another version under the pin, or a mixture of two, and neither an exit code nor a name
#   says so.
# Source: run here; huggingface_hub/file_download.py (_hf_hub_download_to_local_dir).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install huggingface_hub==2.4.0 2> pip.log || { cat pip.log; exit 2; }
env HF_HOME="$dir/home" HF_HUB_DISABLE_XET=1 HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1 \
  venv/bin/python - 2> log <<'PY'
import hashlib, http.server, json, os, pathlib, sys, threading

A, B = "a" * 40, "b" * 40
COMMITS = {
    A: {"config.json": b'{"of": "A"}', "model-00001-of-00002.safetensors": b"1" * 50, "model-00002-of-00002.safetensors": b"2" * 50},
    B: {"config.json": b'{"of": "B"}', "model.safetensors": b"3" * 70},
}

def oid(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        headers, status = {"Content-Type": "application/json"}, 200
        if parts[2:3] == ["resolve"]:
            body = COMMITS[parts[3]].get(parts[4])
            status = 200 if body is not None else 404
            headers = {"X-Repo-Commit": parts[3], "ETag": f'"{oid(body or b"")}"'}
        elif parts[4:5] == ["tree"]:
            body = json.dumps([{"type": "file", "path": n, "size": len(d), "oid": oid(d)} for n, d in COMMITS[parts[5]].items()]).encode()
        else:
            body = json.dumps({"id": "o/m", "sha": parts[5], "siblings": [{"rfilename": n} for n in COMMITS[parts[5]]]}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body or b""))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body or b"")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass

hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=hub.serve_forever, daemon=True).start()
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{hub.server_port}"
from huggingface_hub import snapshot_download

for commit in (A, B):
    snapshot_download("o/m", revision=commit, local_dir="model")
names = sorted(p.name for p in pathlib.Path("model").iterdir() if p.is_file())
print("after commit A, then commit B:", names)
hub.shutdown()
hub.server_close()
place = pathlib.Path(snapshot_download("o/m", revision=A, local_dir="model"))
config = (place / "config.json").read_text()
print("Hub unreachable, commit A asked for, returned without an error:", config)
sys.exit(0 if "model-00001-of-00002.safetensors" in names and config == '{"of": "B"}' else 1)
PY
grep -o "Defaulting to existing file" log | sort -u
