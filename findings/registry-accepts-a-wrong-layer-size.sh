#!/usr/bin/env bash
# Guess (before the run): a registry that checks that every layer of a manifest exists checks the size beside its
#   digest, too.
# Found: a manifest that says 6000 bytes of a layer of 5000 is accepted, and so is one that says 0. The registry refuses
#   absent layers only. skopeo pulls each of the three with success and writes the wrong size into its copy.
# Version: docker-registry 2.8.2+ds1-1 and skopeo 1.9.3+ds1-1+b10 of Debian 12.
# Why it matters: sizes in manifests are what plans of a transfer, quotas and progress are made of; a pull that holds
#   to the size stops early or waits for bytes that never come. Neither "accepted by the registry" nor "another tool
#   pulled it" says that the sizes are right.
# Source: run here; OCI image specification, descriptor ("size": content that differs in length is not to be trusted).
set -euo pipefail
dir=$(mktemp -d)
registry=""
trap '[[ -z $registry ]] || kill "$registry" 2> "$dir/kill"; rm -rf "$dir"' EXIT
cd "$dir"
apt-get -qq -o APT::Sandbox::User=root download docker-registry=2.8.2+ds1-1 skopeo=1.9.3+ds1-1+b10 || exit 2
for package in *.deb; do dpkg -x "$package" root; done
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > config.yml <<YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/data}}
http: {addr: "127.0.0.1:$port"}
YML
root/usr/bin/docker-registry serve config.yml 2> registry.log & registry=$!
python3 - "$port" <<'PY'
import hashlib, http.client, json, pathlib, subprocess, sys, time

PORT, OCI = int(sys.argv[1]), "application/vnd.oci.image."

def ask(method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()

def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()

def push(data):
    place = ask("POST", "/v2/m/blobs/uploads/", b"")[1]["Location"].split(str(PORT), 1)[1]
    assert ask("PUT", f"{place}&digest={digest(data)}", data)[0] == 201

def push_manifest(tag, size):
    layers = [{"mediaType": OCI + "layer.v1.tar", "digest": digest(layer), "size": size}]
    config = {"mediaType": OCI + "config.v1+json", "digest": digest(b"{}"), "size": 2}
    text = json.dumps({"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config, "layers": layers}).encode()
    return ask("PUT", f"/v2/m/manifests/{tag}", text, Content_Type=OCI + "manifest.v1+json")[0], digest(text)

for _ in range(100):
    try:
        ask("GET", "/v2/")
        break
    except OSError:
        time.sleep(0.1)
layer = b"1" * 5000
push(layer)
push(b"{}")
seen = {}
for size in (5000, 6000, 0):
    status, _ = push_manifest(f"t{size}", size)
    place = pathlib.Path(f"out{size}")
    pull = subprocess.run(["root/usr/bin/skopeo", "--insecure-policy", "copy", "--src-tls-verify=false",
                           f"docker://127.0.0.1:{PORT}/m:t{size}", f"dir:{place}"], capture_output=True, text=True, check=False)
    got = place / digest(layer)[7:]
    seen[size] = status, pull.returncode, got.stat().st_size if got.exists() else None
    print(f"manifest says {size} of {len(layer)} bytes: status, exit code of skopeo, bytes there: {seen[size]} {pull.stderr.strip()[-200:]}")
sys.exit(0 if all(status == 201 for status, _, _ in seen.values()) and all(code == 0 and size == 5000 for _, code, size in seen.values()) else 1)
PY
