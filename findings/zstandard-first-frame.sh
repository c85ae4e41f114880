#!/usr/bin/env bash
# Guess (before the run): stream_reader() of python-zstandard over a file of several frames gives everything.
# Found: it does; so do copy_stream() and open(). But decompress(), read_to_iter() and decompressobj() of the same
#   library, on the same bytes, end after the first frame without an error. A leading skippable frame makes
#   decompress() fail. backports.zstd, with the interface of Python 3.14, reads all frames in decompress() and open().
# Version: zstandard 0.25.0, backports.zstd 1.8.0.
# Why it matters: `zstd:chunked` image layers have a frame per file and skippable frames with an index, and a file
#   of pzstd begins with a skippable frame. A consumer that unpacks such a model layer with the wrong call keeps the
#   first file and succeeds.
# Source: run here; the parameter `read_across_frames` is documented, that calls differ in their default is not
#   obvious.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install zstandard==0.25.0 backports.zstd==1.8.0 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import io, sys
import zstandard
from backports import zstd

frames = b"".join(zstandard.ZstdCompressor().compress(letter * 100_000) for letter in (b"a", b"b", b"c"))
skippable = (0x184D2A50).to_bytes(4, "little") + (8).to_bytes(4, "little") + b"an index"
data = frames + skippable
one = zstandard.ZstdDecompressor()
copied = io.BytesIO()
one.copy_stream(io.BytesIO(data), copied)
seen = {
    "decompress": len(one.decompress(data)),
    "read_to_iter": sum(map(len, one.read_to_iter(io.BytesIO(data)))),
    "decompressobj": len(one.decompressobj().decompress(data)),
    "stream_reader": len(one.stream_reader(io.BytesIO(data)).read()),
    "copy_stream": len(copied.getvalue()),
    "open": len(zstandard.open(io.BytesIO(data), "rb").read()),
    "backports decompress": len(zstd.decompress(data)),
    "backports open": len(zstd.open(io.BytesIO(data)).read()),
}
for name, size in seen.items():
    print(f"{name:22}{size} of 300000")
try:
    one.decompress(skippable + frames)
    leading = "no error"
except zstandard.ZstdError as error:
    leading = str(error)
print("decompress, skippable frame first:", leading)
sys.exit(0 if list(seen.values()) == [100_000] * 3 + [300_000] * 5 and leading != "no error" else 1)
PY
