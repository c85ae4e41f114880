#!/usr/bin/env bash
# Guess (before the run): every chunk of a zarr array is an object, and reading with one absent is an error.
# Found: a chunk of fill values is never written, and an absent chunk reads as fill values, by zarr-python and by
#   tensorstore alike, without an error or a log line. For float arrays that is 0. tensorstore writes all chunks of
#   zarr version 2 and leaves them out in version 3.
# Version: zarr 3.1.6, tensorstore 0.1.86.
# Why it matters: a checkpoint that lost objects on its way loads with layers of zeros and answers. Which objects
#   should be there cannot be computed from the array's shape: only a list made at the source separates a whole copy
#   from a part.
# Source: run here; the zarr specification gives absent chunks the fill value.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install zarr==3.1.6 tensorstore==0.1.86 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import pathlib, sys
import numpy as np, tensorstore as ts, zarr

def files(top):
    return sorted(str(p.relative_to(top)) for p in pathlib.Path(top).rglob("*") if p.is_file())

corner = np.zeros((4, 4), "f4")
corner[:2, :2] = 1
zarr.create_array("zarr", shape=(4, 4), chunks=(2, 2), dtype="f4")[:] = corner
meta = {"zarr": {"shape": [4, 4], "dtype": "<f4", "chunks": [2, 2]},
        "zarr3": {"shape": [4, 4], "data_type": "float32",
                  "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2]}}}}
for driver, metadata in meta.items():
    spec = {"driver": driver, "kvstore": f"file://{pathlib.Path('ts-' + driver).resolve()}/", "metadata": metadata}
    ts.open(spec, create=True).result().write(corner).result()
written = {name: len(files(name)) - 1 for name in ("zarr", "ts-zarr", "ts-zarr3")}
print("chunks written of 4, three of them zeros:", written)

full = zarr.create_array("full", shape=(4, 4), chunks=(2, 2), dtype="f4")
full[:] = np.arange(1, 17, dtype="f4").reshape(4, 4)
pathlib.Path("full/c/1/1").unlink()
by_zarr = zarr.open_array("full", mode="r")[:]
by_ts = ts.open({"driver": "zarr3", "kvstore": f"file://{pathlib.Path('full').resolve()}/"}).result().read().result()
print("one chunk gone, zarr reads:", by_zarr[2:, 2:].tolist(), "tensorstore reads:", by_ts[2:, 2:].tolist())
same = not by_zarr[2:, 2:].any() and not by_ts[2:, 2:].any()
sys.exit(0 if written == {"zarr": 1, "ts-zarr": 4, "ts-zarr3": 1} and same else 1)
PY
