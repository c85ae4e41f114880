#!/usr/bin/env bash
# Guess (before the run): sharded weights of Keras are indexed as elsewhere: NAME.index.json, NAME-00001-of-0000N.
# Found: the index is NAME.weights.json, the shards are NAME_00000.weights.h5 and so on: counted from 0, without a
#   count of all. The values of `weight_map` are lists of files (one layer may lie in several), its keys are layers
#   and not tensors, and `total_size` is a float.
# Version: keras 3.15.1 with h5py 3.16.0 (backend: torch 2.13.0).
# Why it matters: a check by "-of-N" sees complete single files in a version that lost a shard, and a parser of the
#   usual index fails on lists. Only the index says how many shards there are.
# Source: run here; keras/src/saving/saving_lib.py.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install torch==2.13.0 keras==3.15.1 h5py==3.16.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
KERAS_BACKEND=torch venv/bin/python - 2> log <<'PY'
import json, pathlib, sys
import keras

layers = [keras.layers.Input((256,)), *(keras.layers.Dense(n) for n in (512, 512, 256))]
keras.Sequential(layers).save_weights("model.weights.json", max_shard_size=0.0012)
index = json.loads(pathlib.Path("model.weights.json").read_text())
names = sorted(p.name for p in pathlib.Path().glob("model*"))
print("files:", names)
print("index:", json.dumps(index))
kinds = {type(v) for v in index["weight_map"].values()}
right = names == ["model.weights.json", *(f"model_0000{n}.weights.h5" for n in range(3))]
sys.exit(0 if right and kinds == {list} and isinstance(index["metadata"]["total_size"], float) else 1)
PY
