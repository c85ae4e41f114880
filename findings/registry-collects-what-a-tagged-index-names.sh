#!/usr/bin/env bash
# Guess (before the run): garbage collection with --delete-untagged keeps the manifests that a tagged index names.
# Found: it deletes them with their layers and keeps the index: the tag resolves, each of its entries is 404.
# Version: docker-registry 2.8.2+ds1-1 of Debian 12.
# Why it matters: a model in several forms (fp16, int8, or per accelerator) is one tag on an index whose entries are
#   pushed by digest. The nightly clean-up of the registry takes the weights away while the tag still answers with the
#   recorded digest, so a check by tag and digest stays green. A check must walk the index down to the blobs.
# Source: run here; reported as issue 3178 of distribution/distribution.
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
storage: {filesystem: {rootdirectory: $dir/data}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
YML
root/usr/bin/docker-registry serve config.yml 2> registry.log & registry=$!
cat > check.py <<'PY'
import hashlib, http.client, json, subprocess, sys, time

PORT, OCI = int(sys.argv[1]), "application/vnd.oci.image."

def ask(method, path, body=None, kind="application/octet-stream"):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request(method, path, body, {"Content-Type": kind, "Accept": f"{OCI}manifest.v1+json, {OCI}index.v1+json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers

def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()

def entry(data, kind):
    return {"mediaType": OCI + kind, "digest": digest(data), "size": len(data)}

def push(data):
    place = ask("POST", "/v2/m/blobs/uploads/", b"")[1]["Location"].split(str(PORT), 1)[1]
    assert ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest(data)}", data)[0] == 201

def push_manifest(name, document, kind):
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI + kind, **document}).encode()
    assert ask("PUT", f"/v2/m/manifests/{name or digest(body)}", body, OCI + kind)[0] == 201
    return body

for _ in range(50):
    try:
        ask("GET", "/v2/")
        break
    except OSError:
        time.sleep(0.2)
config, children = b"{}", []
push(config)
for layer in (b"fp16" * 100, b"int8" * 100):
    push(layer)
    document = {"config": entry(config, "config.v1+json"), "layers": [entry(layer, "layer.v1.tar")]}
    children.append(push_manifest(None, document, "manifest.v1+json"))
push_manifest("v1", {"manifests": [entry(child, "manifest.v1+json") for child in children]}, "index.v1+json")
states = []
for flags in ([], ["--delete-untagged"]):
    command = ["root/usr/bin/docker-registry", "garbage-collect", *flags, "config.yml"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    states.append((ask("GET", "/v2/m/manifests/v1")[0], [ask("GET", f"/v2/m/manifests/{digest(c)}")[0] for c in children]))
    print("garbage-collect", *flags, "-> tag", states[-1][0], "entries", states[-1][1])
sys.exit(0 if states == [(200, [200, 200]), (200, [404, 404])] else 1)
PY
python3 check.py "$port"
