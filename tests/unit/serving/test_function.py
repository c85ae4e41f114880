"""A function's side: the answers to probes and to challenges."""

from pathlib import Path

import pytest
from syncd.serving import Challenge, NotSealed, ServedModels

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
