#!/usr/bin/env bash
# Guess (before the run): the checksum that OSS sends as x-oss-hash-crc64ecma is fastcrc's crc64.ecma_182.
# Found: it is crc64.xz: the same polynomial, reflected, with initial value and final XOR. The SDK of OSS gives
#   0x995dc9bbdf1939fa for "123456789", as xz does; ecma_182 gives 0x6c40df5f0b497347. Both are 64 bits, and no error
#   separates one from the other.
# Version: fastcrc 0.5.0, alibabacloud-oss-v2 1.4.1.
# Why it matters: a tool that checks copies with the function of the same name reports every object as damaged; one
#   that stores its own value next to the object fills a table that never fits what the store says.
# Source: run here; the catalogue of CRCs calls them CRC-64/ECMA-182 and CRC-64/XZ.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install fastcrc==0.5.0 alibabacloud-oss-v2==1.4.1 2> pip.log || { cat pip.log; exit 2; }
venv/bin/python - <<'PY'
import sys
from alibabacloud_oss_v2 import crc
from fastcrc import crc64

data = b"123456789"
sdk = crc.Crc64(0)
sdk.update(data)
seen = {"OSS SDK": sdk.sum64(), "xz": crc64.xz(data), "ecma_182": crc64.ecma_182(data)}
print(", ".join(f"{name} {value:#018x}" for name, value in seen.items()))
sys.exit(0 if seen["OSS SDK"] == seen["xz"] != seen["ecma_182"] else 1)
PY
