#!/usr/bin/env bash
# Guess (before the run): torch.save of the same tensors to v1.pt and to v2.pt writes equal bytes.
# Found: the stem of the path is the folder inside the archive, so every name gives other bytes: v1.pt has
#   v1/data.pkl, v2.pt has v2/data.pkl, and a file object gives archive/data.pkl. A rename keeps the old name inside.
#   Equal stems in different directories give equal files.
# Version: torch 2.13.0 (CPU build).
# Why it matters: who names files by version or step (epoch=3-step=900.ckpt) has another digest for each, equal
#   weights or not: nothing is found by its digest, nothing is shared between versions, and "nothing changed" is never
#   seen. Save under one fixed name per role and let the directory carry the version.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import hashlib, io, pathlib, sys, zipfile
import torch

tensors = {"w": torch.arange(1000.0), "b": torch.ones(3)}
names = ("v1.pt", "v2.pt", "one/v1.pt", "two/v1.pt")
for name in names:
    pathlib.Path(name).parent.mkdir(exist_ok=True)
    torch.save(tensors, name)
stream = io.BytesIO()
torch.save(tensors, stream)
pathlib.Path("stream.pt").write_bytes(stream.getvalue())
digests = {}
for name in (*names, "stream.pt"):
    digests[name] = hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest()[:12]
    print(f"{name:10} {digests[name]} {zipfile.ZipFile(name).namelist()[0]}")
same = digests["v1.pt"] == digests["one/v1.pt"] == digests["two/v1.pt"]
sys.exit(0 if same and len(set(digests.values())) == 3 else 1)
PY
