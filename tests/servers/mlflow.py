"""An MLflow 3 server: a real process, to which versions are brought by its own REST interface."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tests.servers.programs import environment, program, serving

_EVENTS: Final = (("MODEL_VERSION", "CREATED"), ("MODEL_VERSION_ALIAS", "CREATED"), ("MODEL_VERSION_TAG", "SET"))
# Inside of a VPC, and here, it calls addresses that are not public; a webhook is known at once, not after a minute.
_SETTINGS: Final = {
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Mlflow:
    """A running one."""

    origin: str
    http: httpx.Client

    def register(self, model: str, files: Mapping[str, bytes]) -> str:
        """What `log_model` does: a run, its artifacts, then a version that leads to them. Gives its number."""
        run = self._post("runs/create", experiment_id="0")["run"]["info"]
        root = f"{run['artifact_uri'].removeprefix('mlflow-artifacts:/')}/model"
        for path, data in files.items():
            place = f"/api/2.0/mlflow-artifacts/artifacts/{root}/{path}"
            self.http.put(place, content=data).raise_for_status()
        if not self.has(model):
            self.create(model)
        source = {"source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
        number: str = self._post("model-versions/create", name=model, **source)["model_version"]["version"]
        return number

    def create(self, model: str) -> None:
        self._post("registered-models/create", name=model)

    def tag(self, model: str, version: str, key: str, value: str) -> None:
        self._post("model-versions/set-tag", name=model, version=version, key=key, value=value)

    def tag_model(self, model: str, key: str, value: str) -> None:
        self._post("registered-models/set-tag", name=model, key=key, value=value)

    def has(self, model: str) -> bool:
        return self.http.get("/api/2.0/mlflow/registered-models/get", params={"name": model}).is_success

    @contextmanager
    def telling(self, url: str, secret: str) -> Iterator[None]:
        """Let it send its events there, while entered."""
        events = [{"entity": entity, "action": action} for entity, action in _EVENTS]
        hook = self._post("webhooks", name="syncd", url=url, secret=secret, events=events)["webhook"]["webhook_id"]
        yield
        self.http.delete(f"/api/2.0/mlflow/webhooks/{hook}").raise_for_status()

    def _post(self, call: str, **body: object) -> Any:
        answer = self.http.post(f"/api/2.0/mlflow/{call}", json=body)
        assert answer.is_success, answer.text
        return answer.json()


@contextmanager
def mlflow_server(root: Path) -> Iterator[Mlflow]:
    """One that keeps everything below `root`, while entered."""
    command = [program("mlflow"), "server", "--host", "127.0.0.1", "--port", "0", "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}", "--serve-artifacts"]
    command += ["--artifacts-destination", str(root / "artifacts")]
    key = base64.urlsafe_b64encode(os.urandom(32)).decode()
    own = environment(**_SETTINGS, MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY=key)
    with (
        serving(command, root / "mlflow.log", own) as origin,
        httpx.Client(base_url=origin, timeout=60, trust_env=False) as http,
    ):
        yield Mlflow(origin, http)
