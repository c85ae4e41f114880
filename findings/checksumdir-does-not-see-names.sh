#!/usr/bin/env bash
# Guess (before the run): the digest of a folder changes when two of its files exchange their contents.
# Found: it does not. checksumdir hashes the sorted digests of the files; their names count with `include_paths=True`
#   only. Renamed, moved or exchanged files leave the digest as it is. dirhash has the names in it.
# Version: checksumdir 1.3.0, dirhash 0.5.0.
# Why it matters: as a digest of a model it says "equal" of a folder whose shards or components were exchanged (encoder
#   and decoder of one shape), or whose `model.safetensors` is now `old.safetensors`. What loads by name answers
#   otherwise.
# Source: run here; checksumdir/__init__.py (_reduce_hash).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install checksumdir==1.3.0 dirhash==0.5.0 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import pathlib, sys
from checksumdir import dirhash
from dirhash import dirhash as with_names

versions = {"one": {"encoder/model.bin": b"1", "decoder/model.bin": b"2"}, "exchanged": {"encoder/model.bin": b"2", "decoder/model.bin": b"1"},
            "renamed": {"encoder/old.bin": b"1", "model.bin": b"2"}, "other bytes": {"encoder/model.bin": b"1", "decoder/model.bin": b"3"}}
for version, files in versions.items():
    for name, data in files.items():
        path = pathlib.Path(version, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
seen = {v: (dirhash(v, "sha256"), dirhash(v, "sha256", include_paths=True), with_names(v, "sha256")) for v in versions}
for version, digests in seen.items():
    print(f"{version:12}", *(d[:12] for d in digests))
plain, with_paths, other = zip(*seen.values(), strict=True)
sys.exit(0 if plain[0] == plain[1] == plain[2] != plain[3] and len(set(with_paths)) == len(set(other)) == 4 else 1)
PY
