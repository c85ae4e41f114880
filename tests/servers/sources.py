"""Where teams keep versions: eight kinds of registry, each as people bring versions there and as it tells of them.

MLflow and the image registry tell of a version by themselves. For the others a test says what whoever brings versions
there, or the cloud, would send.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final

import httpx

from tests.acceptance.stage import BUCKET, HANGZHOU, Cloud, write_files
from tests.emulators.distribution import USER, Distribution
from tests.emulators.modelscope import ModelScopeWeb
from tests.emulators.pai import WORKSPACE, PaiWeb
from tests.servers.mlflow import Mlflow
from tests.servers.olah import Olah
from tests.servers.oras import oras_push
from tests.support.clouds import RawBucket
from tests.unit.registry.webs import IndexWeb

SECRET: Final = base64.b64encode(b"a secret of a sender of hooks").decode()
OCI_PASSWORD: Final = "SERVERS_OCI_PASSWORD"
MODELSCOPE_TOKEN: Final = "SERVERS_MODELSCOPE_TOKEN"
_PREFIX: Final = "training/"
_MLMODEL: Final = b"flavors:\n  sentence_transformers:\n    data: model\nmodel_size_bytes: 1\n"


class Source(ABC):
    """A registry, one model in it, and the webhook that leads to it; all of one name."""

    name: str
    hook: str
    model: str

    @property
    @abstractmethod
    def table(self) -> str:
        """Its lines of the configuration, but for those about polling."""

    @abstractmethod
    def bring(self, number: int, files: Mapping[str, bytes]) -> tuple[str, Mapping[str, bytes]]:
        """Bring a version there. Gives its name, and the files that it has then."""

    def telling(self, url: str) -> AbstractContextManager[None]:
        """What it tells by itself goes to `url`, while entered."""
        del url
        return nullcontext()

    @abstractmethod
    def tell(self, url: str, version: str) -> None:
        """Send what somebody else sends then."""


class DirectorySource(Source):
    name, hook = "directory", "standard"

    def __init__(self, root: Path, model: str = "from-directory") -> None:
        self.model = model
        self._root = root
        root.mkdir()

    @property
    def table(self) -> str:
        return f'kind = "directory"\npath = "{self._root}"\nmodels = ["{self.model}"]'

    def bring(self, number: int, files: Mapping[str, bytes]) -> tuple[str, Mapping[str, bytes]]:
        version = f"v{number}"
        write_files(self._root / self.model / version, {**files, "SHA256SUMS": sums(files)})
        return version, files

    def tell(self, url: str, version: str) -> None:
        tell_standard(url, {"type": "model.published", "data": {"model": self.model, "version": version}})


class IndexSource(Source):
    name, hook, model = "index", "standard", "from-index"

    def __init__(self, index: IndexWeb) -> None:
        self._index = index

    @property
    def table(self) -> str:
        return f'kind = "http"\nurl = "{self._index.url}"\nmodels = ["{self.model}"]'

    def bring(self, number: int, files: Mapping[str, bytes]) -> tuple[str, Mapping[str, bytes]]:
        version = f"v{number}"
        self._index.add(self.model, version, files, ready=True)
        return version, files

    def tell(self, url: str, version: str) -> None:
        tell_standard(url, {"type": "index.changed", "data": {"model": self.model, "version": version}})


class PrefixSource(Source):
    name, hook, model = "bucket", "cloudevents", "from-bucket"

    def __init__(self, cloud: Cloud) -> None:
        self._endpoint = cloud.endpoint
        self._bucket = RawBucket(cloud.endpoint, BUCKET)

    @property
    def table(self) -> str:
        return f"""kind = "oss"
region = "{HANGZHOU}"
endpoint = "{self._endpoint}"
bucket = "{BUCKET}"
credentials = "local"
prefix = "{_PREFIX}"
models = ["{self.model}"]"""

    def bring(self, number: int, files: Mapping[str, bytes]) -> tuple[str, Mapping[str, bytes]]:
        version = f"v{number}"
        for path, data in {**files, "SHA256SUMS": sums(files)}.items():
            self._bucket.write(f"{_PREFIX}{self.model}/{version}/{path}", data)
        return version, files

    def tell(self, url: str, version: str) -> None:
        key = f"{_PREFIX}{self.model}/{version}/SHA256SUMS"
        event: dict[str, Any] = {"specversion": "1.0", "id": key, "source": "acs.oss"}
        event |= {"type": "oss:ObjectCreated:PutObject", "data": {"oss": {"object": {"key": key}}}}
        sent(url, json.dumps(event).encode(), {"Authorization": SECRET})

    def close(self) -> None:
        self._bucket.client.session.session.close()


class PaiSource(Source):
    name, hook, model = "pai", "cloudevents", "from-pai"

    def __init__(self, pai: PaiWeb, cloud: Cloud) -> None:
        self._pai = pai
        self._endpoint = cloud.endpoint
        self._bucket = RawBucket(cloud.endpoint, BUCKET)

    @property
    def table(self) -> str:
        return f"""kind = "pai"
endpoint = "{self._pai.web.origin}"
oss_endpoint = "{self._endpoint}"
region = "{HANGZHOU}"
workspace = "{WORKSPACE}"
credentials = "local"
models = ["{self.model}"]"""

    def bring(self, number: int, files: Mapping[str, bytes]) -> tuple[str, Mapping[str, bytes]]:
        """A job's output is registered, and somebody approves it."""
        version, prefix = f"0.{number}.0", f"jobs/{self.model}/{number}/"
        for path, data in files.items():
            self._bucket.write(f"{prefix}{path}", data)
        uri = f"oss://{BUCKET}.oss-{HANGZHOU}-internal.aliyuncs.com/{prefix}"
        for status in ("Pending", "Approved"):
            self._pai.register(self.model, version, uri, status)
        return version, files

    def tell(self, url: str, version: str) -> None:
        """What PAI itself sends is not known; of this only that it comes counts."""
        event = {"specversion": "1.0", "id": version, "source": "acs.pai", "type": "pai:approved", "data": {}}
        sent(url, json.dumps(event).encode(), {"Authorization": SECRET})

    def close(self) -> None:
        self._bucket.client.session.session.close()


class HubSource(Source):
    name, hook, model = "hub", "huggingface", "acme/from-hub"

    def __init__(self, olah: Olah) -> None:
        self._olah = olah
        self._commit = ""

    @property
    def table(self) -> str:
        return f'kind = "huggingface"\nendpoint = "{self._olah.origin}"\nmodels = ["{self.model}"]'

    def bring(self, number: int, files: Mapping[str, bytes]) -> tuple[str, Mapping[str, bytes]]:
        version = f"v{number}"
        self._commit = self._olah.commit(self.model, version, files)
        return version, files

    def tell(self, url: str, version: str) -> None:
        told: dict[str, Any] = {"event": {"action": "update", "scope": "repo.content"}}
        told["repo"] = {"type": "model", "name": self.model, "headSha": self._commit}
        told["updatedRefs"] = [{"ref": f"refs/tags/{version}", "oldSha": None, "newSha": self._commit}]
        sent(url, json.dumps(told).encode(), {"X-Webhook-Secret": SECRET})


class ModelScopeSource(Source):
    name, hook, model = "modelscope", "standard", "acme/from-modelscope"

    def __init__(self, modelscope: ModelScopeWeb) -> None:
        self._modelscope = modelscope

    @property
    def table(self) -> str:
        return f"""kind = "modelscope"
endpoint = "{self._modelscope.web.origin}"
token = {{ env = "{MODELSCOPE_TOKEN}" }}
models = ["{self.model}"]"""

    def bring(self, number: int, files: Mapping[str, bytes]) -> tuple[str, Mapping[str, bytes]]:
        version = f"v{number}"
        self._modelscope.tag(self.model, version, files)
        return version, files

    def tell(self, url: str, version: str) -> None:
        """It tells nobody by itself: who tags does."""
        tell_standard(url, {"type": "model.tagged", "data": {"model": self.model, "version": version}})


class OciSource(Source):
    """Its first version lies there as ModelPack says, the second as the client of ORAS brings a directory."""

    name, hook, model = "images", "oci", "from-images"

    def __init__(self, distribution: Distribution, home: Path) -> None:
        self._distribution = distribution
        self._home = home

    @staticmethod
    def notifications(url: str) -> Mapping[str, Any]:
        """What the registry's own configuration has, to tell of what is pushed."""
        endpoint: dict[str, Any] = {"name": "syncd", "url": url, "headers": {"Authorization": [SECRET]}}
        endpoint |= {"timeout": "5s", "threshold": 3, "backoff": "1s"}
        return {"notifications": {"endpoints": [endpoint]}}

    @property
    def table(self) -> str:
        return f"""kind = "oci"
endpoint = "{self._distribution.origin}"
prefix = "models/"
user = "{USER}"
password = {{ env = "{OCI_PASSWORD}" }}
models = ["{self.model}"]"""

    def bring(self, number: int, files: Mapping[str, bytes]) -> tuple[str, Mapping[str, bytes]]:
        version = f"v{number}"
        if number == 1:
            self._distribution.push(f"models/{self.model}", version, files, "modelpack")
        else:
            write_files(self._home, files)
            oras_push(self._distribution, f"models/{self.model}", version, self._home)
        return version, files

    def tell(self, url: str, version: str) -> None:
        """It has told already."""


class MlflowSource(Source):
    name, hook = "mlflow", "mlflow"

    def __init__(self, mlflow: Mlflow, model: str) -> None:
        self._mlflow = mlflow
        self.model = model

    @property
    def table(self) -> str:
        return f'kind = "mlflow"\nendpoint = "{self._mlflow.origin}"\nmodels = ["{self.model}"]'

    def bring(self, number: int, files: Mapping[str, bytes]) -> tuple[str, Mapping[str, bytes]]:
        """The number is MLflow's own."""
        logged = {"MLmodel": _MLMODEL, **{f"model/{path}": data for path, data in files.items()}}
        return self._mlflow.register(self.model, logged), logged

    def telling(self, url: str) -> AbstractContextManager[None]:
        return self._mlflow.telling(url, SECRET)

    def tell(self, url: str, version: str) -> None:
        """It has told already."""


def sums(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sorted(files.items())).encode()


def tell_standard(url: str, document: Mapping[str, Any]) -> None:
    """As the Standard Webhooks say: the id, the time and the body are signed."""
    body = json.dumps(document).encode()
    identity, now = f"msg_{hashlib.sha256(body).hexdigest()[:20]}", str(int(time.time()))
    key = base64.b64decode(SECRET)
    signature = base64.b64encode(hmac.digest(key, f"{identity}.{now}.".encode() + body, "sha256")).decode()
    sent(url, body, {"webhook-id": identity, "webhook-timestamp": now, "webhook-signature": f"v1,{signature}"})


def sent(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    answer = httpx.post(url, content=body, headers={**headers, "Content-Type": "application/json"}, trust_env=False)
    assert answer.status_code == 202, answer.text
