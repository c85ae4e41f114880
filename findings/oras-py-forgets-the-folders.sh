#!/usr/bin/env bash
# Guess (before the run): an artifact that is pushed from `unet/config.json` and `vae/config.json` keeps both paths, and
#   a pull gives both files.
# Found: the title of a layer is the file's base name. Both layers are called `config.json`, a pull writes one over the
#   other, ends well, and returns the same path twice.
# Version: oras 0.2.43 (the Python client), docker-registry 2.8.2+ds1-1 of Debian 12.
# Why it matters: a folder of a diffusion model has a `config.json` and a `diffusion_pytorch_model.safetensors` in each
#   of its components. Pushed file by file, as a list of paths invites to, the artifact holds all bytes, and whoever
#   pulls it has the last component's only. Push the folder, or refuse two layers of one title.
# Source: run here; oras/provider.py (push).
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
python3 -m venv venv
venv/bin/pip -q install oras==0.2.43 2> pip.log || { cat pip.log; exit 2; }
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy
venv/bin/python - "127.0.0.1:$port" <<'PY'
import pathlib, sys, time, urllib.request
import oras.client

REGISTRY = sys.argv[1]
for _ in range(100):
    try:
        urllib.request.urlopen(f"http://{REGISTRY}/v2/")
        break
    except OSError:
        time.sleep(0.1)
names = ["unet/config.json", "vae/config.json"]
for name in names:
    pathlib.Path(name).parent.mkdir()
    pathlib.Path(name).write_text(name)
client = oras.client.OrasClient(hostname=REGISTRY, insecure=True, tls_verify=False)
client.push(f"{REGISTRY}/model:v1", files=names)
titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in client.get_manifest(f"{REGISTRY}/model:v1")["layers"]]
returned = client.pull(f"{REGISTRY}/model:v1", outdir="out")
there = {str(path.relative_to("out")): path.read_text() for path in pathlib.Path("out").rglob("*") if path.is_file()}
print("titles:", titles)
print("returned:", [str(pathlib.Path(path).name) for path in returned])
print("there:", there)
sys.exit(0 if titles == ["config.json"] * 2 and len(returned) == 2 and there == {"config.json": "vae/config.json"} else 1)
PY
