"""A function's side: the answers to probes and to challenges."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from syncd.serving import Challenge, NotSealed, ServedModels
from syncd.serving.listener import listener

from tests.support.sealed_models import safetensors, sealed


def test_a_probe_is_answered_with_digests_parameters_and_stages(tmp_path: Path) -> None:
    manifest = sealed(tmp_path / "mnt", {"model.safetensors": safetensors({"w": b"12345678"}, dtype="F32", width=4)})
    models = ServedModels({"MODELS": "sdxl=P+D,later=Q", "P": "/mnt", "D": manifest.digest.hex}, root=str(tmp_path))

    answer = models.answer(b"{}")

    assert answer["models"] == {"sdxl": models["sdxl"].describe()}
    assert models["sdxl"].describe().items() >= {"digest": manifest.digest.hex, "parameters": 2, "files": 1}.items()
    assert list(models) == ["sdxl"]
    assert len(models) == 1
    assert "proofs" not in answer
    assert isinstance(answer["load_s"], float)


def test_a_challenge_is_answered_with_a_proof_of_each_model(tmp_path: Path) -> None:
    manifest = sealed(tmp_path, {"model.safetensors": safetensors({"w": b"12345678"})})
    models = ServedModels({"MODELS": "sdxl=P", "P": str(tmp_path)})
    asked = Challenge("sample", "ab" * 16)

    assert models.answer(asked.body())["proofs"] == {manifest.digest.hex: models["sdxl"].prove(asked)}


def test_a_load_that_failed_is_tried_again(tmp_path: Path) -> None:
    models = ServedModels({"MODELS": "sdxl=P", "P": str(tmp_path)})
    with pytest.raises(NotSealed):
        models.answer()

    sealed(tmp_path, {"a": b"1"})

    assert models.answer()["models"]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A function that listens; its model is sealed by the test."""
    models = ServedModels({"MODELS": "sdxl=P", "P": str(tmp_path)})
    server = listener("127.0.0.1", 0, lambda models, body: {"asked": body.decode(), "of": len(models)}, models)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def _asked(port: int, body: bytes | None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET" if body is None else "POST", "/invoke", body)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def test_the_listener_answers_probes_challenges_and_requests(port: int, tmp_path: Path) -> None:
    assert _asked(port, None) == (200, {"healthy": True})
    status, answer = _asked(port, b"{}")
    assert (status, answer["errorType"]) == (500, "ModelNotLoaded")
    assert "NotSealed" in answer["errorMessage"]

    manifest = sealed(tmp_path, {"model.safetensors": safetensors({"w": b"12345678"})})

    assert _asked(port, b"{}")[1]["models"]["sdxl"]["digest"] == manifest.digest.hex
    assert list(_asked(port, Challenge("full", "ab" * 16).body())[1]["proofs"]) == [manifest.digest.hex]
    assert _asked(port, b'{"prompt": 1}') == (200, {"asked": '{"prompt": 1}', "of": 1})
