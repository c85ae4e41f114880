#!/usr/bin/env bash
# Guess (before the run): with safetensors.numpy a BF16 tensor loads as ml_dtypes.bfloat16, or load raises.
# Found: both, and which one depends on an unrelated import: load_file() reads BF16 in a process in which ml_dtypes
#   was imported and raises TypeError in any other. load() of the same bytes raises KeyError always. save() takes BF16
#   and the float8 types of ml_dtypes without a word, although neither load() nor load_file() gives the float8 types
#   back.
# Version: safetensors 0.8.0, ml_dtypes 0.6.0, numpy 2.4.6.
# Why it matters: a check that opens each version with the NumPy side of the library before a release refuses right
#   models, or passes on the build machine and fails in the function. Headers must be parsed by themselves.
# Source: run here; safetensors/numpy.py (the table of types that load uses is shorter than the one of save).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install safetensors==0.8.0 ml_dtypes==0.6.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY' > saved
import ml_dtypes, numpy as np, safetensors.numpy as st
for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"):
    tensors = {"w": np.ones(4, np.float32).astype(getattr(ml_dtypes, name))}
    st.save_file(tensors, f"{name}.safetensors")
    try:
        st.load(st.save(tensors))
        print(name, "loads")
    except KeyError as error:
        print(name, "saves; load raises KeyError", error)
PY
cat > read.py <<'PY'
import importlib, sys
import safetensors.numpy as st
for name in sys.argv[2:]:
    importlib.import_module(name)
try:
    print("loads as", st.load_file(sys.argv[1])["w"].dtype)
except (AttributeError, TypeError) as error:
    print(type(error).__name__)
PY
{
  echo "bfloat16 from a file: $(venv/bin/python read.py bfloat16.safetensors)"
  echo "bfloat16 from a file, ml_dtypes imported: $(venv/bin/python read.py bfloat16.safetensors ml_dtypes)"
  echo "float8_e4m3fn from a file, ml_dtypes imported: $(venv/bin/python read.py float8_e4m3fn.safetensors ml_dtypes)"
} >> saved
cat saved
[[ $(grep -c "load raises KeyError" saved) == 4 ]] || exit 1
[[ $(grep -c "from a file: TypeError" saved) == 1 ]] || exit 1
[[ $(grep -c "from a file, ml_dtypes imported: loads as bfloat16" saved) == 1 ]] || exit 1
[[ $(grep -c "float8_e4m3fn from a file, ml_dtypes imported: AttributeError" saved) == 1 ]] || exit 1
