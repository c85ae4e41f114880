#!/usr/bin/env bash
# Guess (before the run): a credentials file that changed on disk is read again by the next get_credential().
# Found: the providers for the credentials file and for the command-line tool's config.json read once and keep the
#   first key for the life of the client; only a new client reads the new one. A static key has no expiry that would
#   end it.
# Version: alibabacloud-credentials 1.0.12.
# Why it matters: keys are rotated by writing the file (a mounted secret, a vault agent). A daemon goes on with the
#   old key until it is disabled, then every call is refused although the file is right; a restart cures it.
# Source: run here; alibabacloud_credentials/provider/profile.py and cli_profile.py keep the inner provider.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q install alibabacloud-credentials==1.0.12 2> pip.log || { cat pip.log; exit 2; }
mkdir -p home/.aliyun
env -i PATH="$PATH" HOME="$dir/home" ALIBABA_CLOUD_CREDENTIALS_FILE="$dir/credentials" \
  ALIBABA_CLOUD_ECS_METADATA_DISABLED=true venv/bin/python - <<'PY'
import json, os, pathlib, sys, time
from alibabacloud_credentials.client import Client
from alibabacloud_credentials.provider import CLIProfileCredentialsProvider

def write(key):
    pathlib.Path(os.environ["ALIBABA_CLOUD_CREDENTIALS_FILE"]).write_text(
        f"[default]\ntype = access_key\naccess_key_id = {key}\naccess_key_secret = of-{key}\n")
    profile = {"name": "default", "mode": "AK", "access_key_id": key, "access_key_secret": f"of-{key}"}
    (pathlib.Path.home() / ".aliyun/config.json").write_text(json.dumps({"current": "default", "profiles": [profile]}))

write("OLD")
client, provider = Client(), CLIProfileCredentialsProvider()
first = client.get_credential().get_access_key_id(), provider.get_credentials().get_access_key_id()
write("NEW")
time.sleep(1.1)
second = client.get_credential().get_access_key_id(), provider.get_credentials().get_access_key_id()
fresh = Client().get_credential().get_access_key_id()
print(f"before {first}, after the files changed {second}, a new client {fresh}")
sys.exit(0 if (first, second, fresh) == (("OLD", "OLD"), ("OLD", "OLD"), "NEW") else 1)
PY
