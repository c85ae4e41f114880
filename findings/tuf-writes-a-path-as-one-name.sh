#!/usr/bin/env bash
# Guess (before the run): the client of TUF stores the target "unet/config.json" as that path below its directory.
# Found: it is stored as one file, `unet%2Fconfig.json`. Its folders are not made, also when they exist; only a path
#   that is given for each target by the caller is kept.
# Version: tuf 7.0.1, securesystemslib 1.6.0, cryptography 50.0.2.
# Why it matters: a model's folder that was signed file by file arrives verified and in a form that no loader reads, and
#   a file left in its right place from an earlier version is what gets loaded. Give `filepath` for each target, after
#   a check of the path.
# Source: run here; tuf/ngclient/updater.py (_generate_target_file_path).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy
python3 -m venv venv
venv/bin/pip -q install tuf==7.0.1 securesystemslib==1.6.0 cryptography==50.0.2 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import datetime, functools, http.server, pathlib, sys, threading
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater

NAME = "unet/config.json"
pathlib.Path("server/targets/unet").mkdir(parents=True)
pathlib.Path("server/metadata").mkdir()
pathlib.Path("model/unet").mkdir(parents=True)
pathlib.Path("client").mkdir()
pathlib.Path("server/targets", NAME).write_text("new")
pathlib.Path("model", NAME).write_text("of an earlier version")
until, key = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1), CryptoSigner.generate_ed25519()
root, targets = Root(expires=until, consistent_snapshot=False), Targets(expires=until)
targets.targets[NAME] = TargetFile.from_file(NAME, f"server/targets/{NAME}")
for role in ("root", "timestamp", "snapshot", "targets"):
    root.add_key(key.public_key, role)
for name, role in {"1.root": root, "targets": targets, "snapshot": Snapshot(expires=until), "timestamp": Timestamp(expires=until)}.items():
    document = Metadata(role)
    document.sign(key)
    document.to_file(f"server/metadata/{name}.json")

class Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory="server"))
threading.Thread(target=server.serve_forever, daemon=True).start()
place = f"http://127.0.0.1:{server.server_port}"
trusted = pathlib.Path("server/metadata/1.root.json").read_bytes()
client = Updater("client", f"{place}/metadata/", "model", f"{place}/targets/", bootstrap=trusted)
client.refresh()
client.download_target(client.get_targetinfo(NAME))
there = {str(path.relative_to("model")): path.read_text() for path in sorted(pathlib.Path("model").rglob("*")) if path.is_file()}
print("target:", NAME)
print("there: ", there)
sys.exit(0 if there == {"unet%2Fconfig.json": "new", NAME: "of an earlier version"} else 1)
PY
