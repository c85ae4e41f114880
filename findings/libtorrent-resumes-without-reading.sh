#!/usr/bin/env bash
# Guess (before the run): a torrent that is resumed after one of its files was changed in place is checked again, since
#   the file's time is another one.
# Found: neither the time nor the bytes count. With the saved resume data the changed file is complete: the state is
#   "seeding" at 1.0. A forced recheck finds the piece.
# Version: libtorrent 2.1.1.
# Why it matters: a node that shares models restarts in seconds because of this, and says that it has all of a file that
#   a tool has changed meanwhile (metadata edited in place, a bad sector). What is loaded from there is not what the
#   torrent's hashes promise. Recheck after a restart, or let nobody write there.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install libtorrent==2.1.1 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python -W ignore - <<'PY'
import pathlib, sys, time
import libtorrent as lt

PLACE = pathlib.Path("model/weights.bin")
DONE = (lt.torrent_status.seeding, lt.torrent_status.finished, lt.torrent_status.downloading)

def session():
    quiet = dict.fromkeys(("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp"), False)
    return lt.session({"listen_interfaces": "127.0.0.1:0", "alert_mask": lt.alert.category_t.all_categories, **quiet})

def settled(torrent):
    time.sleep(2)
    for _ in range(200):
        status = torrent.status()
        if status.state in DONE:
            return str(status.state), round(status.progress, 3)
        time.sleep(0.1)
    return "never", 0

PLACE.parent.mkdir()
PLACE.write_bytes(b"".join(bytes([i]) * (1 << 14) for i in range(64)))
files = lt.file_storage()
lt.add_files(files, "model")
new = lt.create_torrent(files)
lt.set_piece_hashes(new, ".")
first = session()
torrent = first.add_torrent({"ti": lt.torrent_info(new.generate()), "save_path": "."})
seen = [settled(torrent)]
torrent.save_resume_data(2)
saved = None
for _ in range(100):
    saved = saved or next((a for a in first.pop_alerts() if isinstance(a, lt.save_resume_data_alert)), None)
    time.sleep(0.05)
resume = bytes(lt.write_resume_data_buf(saved.params))
del torrent, first
data = bytearray(PLACE.read_bytes())
data[500_000] ^= 1
time.sleep(1.1)
PLACE.write_bytes(data)
params = lt.read_resume_data(resume)
params.save_path = "."
second = session()
torrent = second.add_torrent(params)
seen.append(settled(torrent))
torrent.force_recheck()
seen.append(settled(torrent))
for what, state in zip(("as made:", "a byte changed in place, resumed:", "rechecked:"), seen, strict=True):
    print(f"{what:35}{state}")
sys.exit(0 if seen[0] == seen[1] == ("seeding", 1.0) and seen[2][1] < 1 else 1)
PY
