#!/usr/bin/env bash
# Guess (before the run): ijson gives what json.loads gives, piece by piece: an absent path is an error, and of two
#   equal keys the last counts.
# Found: (1) items() over a document without the path gives nothing and no error: {"error": "busy"} is an empty list
#   of models. (2) Of two equal keys json.loads keeps the last, ijson gives the items of both. Not guessed: (3) the
#   default C back end turns an unpaired surrogate into "?", json.loads and ijson's Python back end keep it: one
#   document, two file names.
# Version: ijson 3.6.0 (yajl2_c), CPython 3.11.
# Why it matters: a long listing is streamed to bound memory while the same bytes are parsed whole elsewhere (a
#   signature, a digest of the list, another tool). The two disagree on which files a version has, and an error answer
#   reads as "every version was withdrawn". Streamed listings need their own checks: path seen, keys single, names
#   valid.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install ijson==3.6.0 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import io, json, sys
import ijson

def streamed(document, backend=ijson):
    return list(backend.items(io.BytesIO(document), "models.item"))

absent = streamed(b'{"error": "busy"}')
twice = b'{"models": ["a"], "models": ["b", "c"]}'
name = b'{"models": ["a\\ud800.bin"]}'
plain = ijson.get_backend("python")
print("back end:", ijson.backend)
print("path absent:", absent)
print("key twice: json", json.loads(twice)["models"], "ijson", streamed(twice))
print("surrogate: json", ascii(json.loads(name)["models"]), "ijson", ascii(streamed(name)), "its Python back end", ascii(streamed(name, plain)))
right = (absent, streamed(twice), streamed(name)) == ([], ["a", "b", "c"], ["a?.bin"])
sys.exit(0 if right and streamed(name, plain) == json.loads(name)["models"] else 1)
PY
