#!/usr/bin/env bash
# Guess (before the run): a file in a DVC remote whose bytes do not have the MD5 that is its name is refused by
#   `dvc pull`.
# Found: by default DVC trusts a remote. The pull ends with 0, the other bytes are in the workspace and in the cache
#   under that MD5, and `dvc status` and `dvc status -c` say that all is up to date and in sync. Only a remote with
#   `verify = true` is refused.
# Version: dvc 3.67.1.
# Why it matters: who takes models from a DVC remote takes the MD5 in the `.dvc` file for a proof. A bit that rots in
#   the store reaches all who pull from then on, each with a clean status. Set `verify`, or hash what was pulled.
# Source: run here; dvc.org documents `verify` in the reference of `remote modify`.
set -euo pipefail
dir=$(mktemp -d)
server=""
trap '[[ -z $server ]] || kill "$server" 2> "$dir/kill"; chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy ALL_PROXY all_proxy
python3 -m venv venv
venv/bin/pip -q install dvc==3.67.1 2> pip.log || { cat pip.log; exit 2; }
export PATH="$dir/venv/bin:$PATH" DVC_NO_ANALYTICS=1 HOME="$dir/home" DVC_SITE_CACHE_DIR="$dir/site"
mkdir home origin remote
git config --global user.email us@example.com
git config --global user.name us
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
python3 -m http.server "$port" --bind 127.0.0.1 --directory remote > server.log 2>&1 & server=$!
cd origin
git init -q .
dvc init -q
dvc remote add -q push "$dir/remote"
dvc remote add -q -d remote "http://127.0.0.1:$port"
head -c 100000 /dev/zero | tr '\0' 1 > weights.bin
dvc add -q weights.bin
git add -A
git commit -qm weights
dvc push -q -r push
cd ..
object=$(find remote -type f)
chmod u+w "$object"
printf 2 | dd of="$object" bs=1 seek=5000 conv=notrunc status=none # one byte, as a disk would
for verify in false true; do
  git clone -q origin "$verify"
  cd "$verify"
  dvc remote modify -q remote verify "$verify"
  pulled=0
  dvc pull > ../pull.log 2>&1 || pulled=$?
  echo "verify=$verify: pull ends with $pulled. $(dvc status 2>&1 | tail -1) $(dvc status -c 2>&1 | tail -1)"
  if [[ -e weights.bin ]]; then
    echo "  the file has $(md5sum < weights.bin | cut -c1-32), weights.bin.dvc $(grep -o 'md5: [0-9a-f]*' weights.bin.dvc)"
  fi
  results+=("$pulled $([[ ! -e weights.bin ]] && echo absent || { cmp -s weights.bin ../origin/weights.bin && echo same || echo other; })")
  cd ..
done
[[ ${results[0]} == "0 other" && ${results[1]} == [1-9]*" absent" ]]
[[ $(cd false && dvc status 2>&1) == *"up to date"* ]]
