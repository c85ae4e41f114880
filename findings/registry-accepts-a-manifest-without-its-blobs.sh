#!/usr/bin/env bash
# Guess (before the run): after garbage collection HEAD of a collected blob is 404, so a manifest that the registry
#   accepts has all of its blobs.
# Found: with the cache that its packaged configuration has (blobdescriptor: inmemory), the registry answers HEAD of
#   a collected blob with 200 and its length until it is restarted. A client that pushes the same layer again gets the
#   answer that it is there and sends nothing, a new manifest with it is accepted (201) and can be pulled, and GET of
#   the layer answers 200 with the full Content-Length and no byte.
# Version: docker-registry 2.8.2+ds1-1 of Debian 12. Nothing was being pushed while it collected.
# Why it matters: "manifest accepted, every blob there by HEAD" is how a push of a model is proven. Here all of it
#   holds and the image cannot be pulled: the function fails when it scales out. Only a byte of each layer that was
#   not sent in this push proves it.
# Source: run here; the documentation asks for a read-only or stopped registry while it collects.
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
storage: {filesystem: {rootdirectory: $dir/data}, cache: {blobdescriptor: inmemory}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
YML
root/usr/bin/docker-registry serve config.yml 2> registry.log & registry=$!
cat > check.py <<'PY'
import hashlib, http.client, json, subprocess, sys, time

PORT, OCI = int(sys.argv[1]), "application/vnd.oci.image."

def ask(method, path, body=None, kind="application/octet-stream"):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request(method, path, body, {"Content-Type": kind, "Accept": OCI + "manifest.v1+json"})
    answer = connection.getresponse()
    try:
        read = len(answer.read())
    except http.client.IncompleteRead as error:
        read = len(error.partial)
    return answer.status, answer.headers, read

def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()

def push(data):
    if ask("HEAD", f"/v2/m/blobs/{digest(data)}")[0] == 200:
        return "there already"
    place = ask("POST", "/v2/m/blobs/uploads/", b"")[1]["Location"].split(str(PORT), 1)[1]
    return ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest(data)}", data)[0]

def push_manifest(tag, config):
    def entry(data, kind):
        return {"mediaType": OCI + kind, "digest": digest(data), "size": len(data)}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": entry(config, "config.v1+json"),
                       "layers": [entry(layer, "layer.v1.tar")]}).encode()
    return body, ask("PUT", f"/v2/m/manifests/{tag}", body, OCI + "manifest.v1+json")[0]

for _ in range(50):
    try:
        ask("GET", "/v2/")
        break
    except OSError:
        time.sleep(0.2)
layer, config = b"weights" * 1000, b"{}"
print("first push:", push(layer), push(config), end=" ")
body, status = push_manifest("v1", config)
print(status, "deleted:", ask("DELETE", f"/v2/m/manifests/{digest(body)}")[0])
subprocess.run(["root/usr/bin/docker-registry", "garbage-collect", "config.yml"], check=True, stdout=subprocess.DEVNULL)
config = b'{"release": 2}'
again = push(layer), push(config), push_manifest("v2", config)[1]
pulled = ask("GET", "/v2/m/manifests/v2")[0]
head, (got, headers, read) = ask("HEAD", f"/v2/m/blobs/{digest(layer)}")[0], ask("GET", f"/v2/m/blobs/{digest(layer)}")
print("collected, pushed again: layer", again[0], "config", again[1], "manifest", again[2])
print(f"pull: manifest {pulled}; layer HEAD {head}, GET {got} with Content-Length {headers['Content-Length']} and {read} bytes")
sys.exit(0 if (again, pulled, head, read) == (("there already", 201, 201), 200, 200, 0) else 1)
PY
python3 check.py "$port"
kill "$registry"
wait "$registry" 2> wait.log || true
root/usr/bin/docker-registry serve config.yml 2> registry.log & registry=$!
cat > restarted.py <<'PY'
import hashlib, http.client, sys, time

status = None
for _ in range(50):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
    try:
        connection.request("HEAD", "/v2/m/blobs/sha256:" + hashlib.sha256(b"weights" * 1000).hexdigest())
        status = connection.getresponse().status
        break
    except OSError:
        time.sleep(0.2)
print("after a restart of the registry: layer HEAD", status)
sys.exit(0 if status == 404 else 1)
PY
python3 restarted.py "$port"
