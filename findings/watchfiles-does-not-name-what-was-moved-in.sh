#!/usr/bin/env bash
# Guess (before the run): a folder that is moved into a watched tree is reported with the files in it.
# Found: watchfiles reports the folder alone, although it watches it from then on: a file that is added later is
#   reported. watchdog reports the folder and everything in it.
# Version: watchfiles 1.3.0, watchdog 7.1.0.
# Why it matters: to write a version beside the tree and to rename it into place is the way to deliver it whole. A
#   service that waits with watchfiles for `*.safetensors` or for a marker such as READY sees versions that are copied
#   in, file by file, and never one that arrives the right way. After an added folder the folder must be read.
# Source: run here; inotify has one event, IN_MOVED_TO, for the folder.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install watchfiles==1.3.0 watchdog==7.1.0 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import os, pathlib, sys, threading, time
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
from watchfiles import watch

by_watchfiles, by_watchdog, stop = set(), set(), threading.Event()

class Note(FileSystemEventHandler):
    def on_created(self, event):
        by_watchdog.add(os.path.relpath(event.src_path, "models"))

def note():
    for changes in watch("models", stop_event=stop, step=50, rust_timeout=500):
        by_watchfiles.update(os.path.relpath(path, "models") for _, path in changes)

pathlib.Path("models").mkdir()
(pathlib.Path("v1") / "shards").mkdir(parents=True)
for name in ("v1/READY", "v1/shards/model-00001-of-00001.safetensors"):
    pathlib.Path(name).write_bytes(b"1")
observer = Observer()
observer.schedule(Note(), "models", recursive=True)
observer.start()
thread = threading.Thread(target=note)
thread.start()
time.sleep(2)
pathlib.Path("v1").rename("models/v1")
time.sleep(2)
pathlib.Path("models/v1/shards/later").write_bytes(b"1")
time.sleep(3)
stop.set()
thread.join()
observer.stop()
observer.join()
print("watchfiles:", sorted(by_watchfiles))
print("watchdog:  ", sorted(by_watchdog))
whole = {"v1", "v1/READY", "v1/shards", "v1/shards/model-00001-of-00001.safetensors", "v1/shards/later"}
sys.exit(0 if by_watchfiles == {"v1", "v1/shards/later"} and by_watchdog == whole else 1)
PY
