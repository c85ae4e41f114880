#!/usr/bin/env bash
# Guess (before the run): git-lfs refuses at checkout a stored object whose bytes do not have its SHA-256.
# Found: `git checkout` writes the other bytes and ends with 0; `git status` then says modified and `git lfs fsck` says
#   corrupt. The transfer from a file remote does compare: a clone with the same damage there fails.
# Version: git-lfs 3.3.0 (Debian 12).
# Why it matters: the objects of a clone are trusted, so a build machine that keeps its clone serves a damaged model
#   after each checkout. `git lfs fsck`, or `git status` after the checkout, shows it.
# Source: run here.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get -qq download git-lfs=3.3.0-1+deb12u2 2> apt.log && dpkg -x git-lfs_*.deb . || { cat apt.log; exit 2; }
export HOME="$dir" PATH="$dir/usr/bin:$PATH" GIT_CONFIG_NOSYSTEM=1
git config --global user.name name
git config --global user.email name@example.com
git lfs install > /dev/null
git lfs version
git init -q --bare remote.git
git init -q work
(
  cd work
  git lfs track '*.bin' > /dev/null
  printf 'version one' > weights.bin
  git add .
  git commit -qm one
  git remote add origin "file://$dir/remote.git"
  git push -q origin HEAD:main > /dev/null 2>&1
)
damage() { local file; file=$(find "$1" -type f) && chmod u+w "$file" && printf 'other bytes' > "$file"; }
damage work/.git/lfs/objects
rm work/weights.bin
code=0; git -C work checkout -q weights.bin || code=$?
fsck=0; git -C work lfs fsck --objects --dry-run || fsck=$?
status=$(git -C work status --short)
echo "checkout ends with $code: $(cat work/weights.bin); fsck ends with $fsck; status:$status"
damage remote.git/lfs/objects
clone=0; git clone -q -b main "file://$dir/remote.git" clone 2> clone.log || clone=$?
echo "clone of a remote with the same damage ends with $clone"
[[ $code == 0 && $(cat work/weights.bin) == 'other bytes' && $fsck != 0 && $clone != 0 && $status == *M* ]]
