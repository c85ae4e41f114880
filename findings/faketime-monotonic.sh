#!/usr/bin/env bash
# Guess (before the run): libfaketime steps the wall clock; time.monotonic() stays as it is.
# Found: the preloaded library answers CLOCK_MONOTONIC with the faked wall clock, so a step of -4 h takes the
#   monotonic clock back by 4 h. With the monotonic clock excluded (FAKETIME_DONT_FAKE_MONOTONIC=1) time.sleep() of
#   Python 3.11 fails with EINVAL, since it sleeps to an absolute monotonic time. And a step is seen only with
#   FAKETIME_NO_CACHE=1.
# Version: libfaketime 0.9.10-2.1 of Debian 12, CPython 3.11.
# Why it matters: a test that steps the clock under a release daemon must show that leases and time-outs, which are
#   monotonic, survive. Under libfaketime it shows nothing of the kind, and code that is right fails.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -qq -o APT::Sandbox::User=root download libfaketime=0.9.10-2.1 || exit 2
dpkg -x libfaketime_*.deb root
preload=$(find "$PWD/root" -name libfaketime.so.1)
cat > step.py <<'PY'
import pathlib, sys, time
clock = pathlib.Path(sys.argv[1])
wall, monotonic = time.time(), time.monotonic()
print("monotonic is the wall clock:", abs(wall - monotonic) < 1)
for step in ("+7200", "-7200"):
    clock.write_text(step)
    time.sleep(0.2)
    print(f"{step}: wall {time.time() - wall:+.0f} s, monotonic {time.monotonic() - monotonic:+.0f} s")
PY
cat > sleep.py <<'PY'
import time
try:
    time.sleep(0.1)
    print("sleep works")
except OSError as error:
    print("sleep fails:", error.strerror)
PY
run() { echo +0 > clock; env FAKETIME_TIMESTAMP_FILE="$dir/clock" LD_PRELOAD="$preload" "$@"; }
cached=$(run python3 step.py clock)
stepped=$(run FAKETIME_NO_CACHE=1 python3 step.py clock)
excluded=$(run FAKETIME_DONT_FAKE_MONOTONIC=1 python3 sleep.py)
printf 'with the cache:\n%s\nwithout:\n%s\nmonotonic excluded: %s\n' "$cached" "$stepped" "$excluded"
[[ $stepped == "monotonic is the wall clock: True"* ]] || exit 1
[[ $cached == *"+7200: wall +0 s, monotonic +0 s"* ]] || exit 1
[[ $stepped == *"+7200: wall +7200 s, monotonic +7200 s"* ]] || exit 1
[[ $stepped == *"-7200: wall -7200 s, monotonic -7200 s"* ]] || exit 1
[[ $excluded == "sleep fails: Invalid argument" ]] || exit 1
