#!/usr/bin/env bash
# Guess (before the run): a PATCH whose Content-Range does not begin where the upload ends is answered 416, as the
#   distribution specification has it.
# Found: Content-Range is not read. A chunk that is sent again after a lost answer is appended a second time, and one
#   with a gap before it is appended, too; each time the answer is 202. The PUT at the end says DIGEST_INVALID.
# Version: docker-registry 2.8.2+ds1-1 of Debian 12.
# Why it matters: a layer of 100 GB is sent in chunks. A client that repeats a chunk, which the specification allows,
#   sends all the rest in vain, and the error says nothing of the cause. After any lost answer the offset must be asked
#   for (GET of the upload) before anything is sent.
# Source: run here; OCI distribution specification, "Pushing a blob in chunks".
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

PORT = int(sys.argv[1])

def ask(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()

def upload(*chunks):
    place = ask("POST", "/v2/m/blobs/uploads/", b"")[1]["Location"]
    seen = []
    for begin, data in chunks:
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{begin}-{begin + len(data) - 1}"}
        status, answered, _ = ask("PATCH", place.split(str(PORT), 1)[1], data, headers)
        place = answered.get("Location", place)
        seen.append((headers["Content-Range"], status, answered.get("Range")))
    digest = hashlib.sha256(b"".join(dict(chunks).values())).hexdigest()
    status, _, body = ask("PUT", f"{place.split(str(PORT), 1)[1]}&digest=sha256:{digest}")
    return seen, status, json.loads(body)["errors"][0]["code"] if body else ""

for _ in range(100):
    try:
        ask("GET", "/v2/")
        break
    except OSError:
        time.sleep(0.1)
one, two = b"1" * 1000, b"2" * 1000
results = {"in order": upload((0, one), (1000, two)), "the first sent twice": upload((0, one), (0, one), (1000, two)),
           "with a gap": upload((0, one), (5000, two))}
for name, result in results.items():
    print(f"{name}: {result}")
twice = results["the first sent twice"]
sys.exit(0 if results["in order"][1] == 201 and [s for _, s, _ in twice[0]] == [202] * 3 and twice[0][1][2] == "0-1999"
         and twice[2] == "DIGEST_INVALID" and results["with a gap"][0][1][1] == 202 else 1)
PY
