#!/usr/bin/env bash
# Guess (before the run): GET or HEAD of a manifest that exists is 200 or 406, whatever the Accept header says.
# Found: an OCI manifest is 404 MANIFEST_UNKNOWN unless Accept names its media type: without the header, with "*/*",
#   with "application/json", by tag and by digest. Only the body of GET says why ("OCI manifest found, but accept header
#   does not support OCI manifests"); HEAD has none.
# Version: docker-registry 2.8.2+ds1-1 of Debian 12.
# Why it matters: 404 is what proves that a tag is free or a version is gone. A check with curl, or with a client that
#   knows only Docker's media types, concludes that a model that is being served was never pushed, and pushes over its
#   tag or lets garbage collection have it.
# Source: run here; RFC 9110, 15.5.7 (406).
set -euo pipefail
dir=$(mktemp -d)
registry=""
trap '[[ -z $registry ]] || kill "$registry" 2> "$dir/kill"; rm -rf "$dir"' EXIT
cd "$dir"
apt-get -qq -o APT::Sandbox::User=root download docker-registry=2.8.2+ds1-1 || exit 2
dpkg -x docker-registry_*.deb root
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > config.yml <<YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/data}}
http: {addr: "127.0.0.1:$port"}
YML
root/usr/bin/docker-registry serve config.yml 2> registry.log & registry=$!
python3 - "$port" <<'PY'
import hashlib, http.client, json, sys, time

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
pushed = push_manifest("v1", len(layer))
seen = {}
for name in ("v1", pushed[1]):
    for method in ("HEAD", "GET"):
        for accept in (None, "*/*", "application/json", "application/vnd.docker.distribution.manifest.v2+json", OCI + "manifest.v1+json"):
            status, _, body = ask(method, f"/v2/m/manifests/{name}", **({"Accept": accept} if accept else {}))
            seen[name, method, accept] = status
            print(f"{method:4} {name[:9]:9} Accept: {accept!s:53}{status} {body[:120].decode() if status == 404 else ''}")
sys.exit(0 if all(status == (200 if accept == OCI + "manifest.v1+json" else 404) for (_, _, accept), status in seen.items()) else 1)
PY
