"""Served models of one function: loaded once from the environment, and the answers to probes and challenges."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from threading import Lock

from .challenge import Challenge, parse_challenge
from .loader import LoadedModel, load
from .seal import find_models


class ServedModels(Mapping[str, LoadedModel]):
    """The models that the environment names (see `find_models`), loaded at the first use. Safe from several threads.

    A published function version never sees other mounts: one process loads once. For many models in little memory see
    `ModelSwitcher`.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, models: str = "MODELS", root: str = "") -> None:
        """`root` is put before every mounted path, as the local cloud needs it."""
        self._environ = dict(os.environ if environ is None else environ)
        self._models, self._root = models, root
        self._lock = Lock()
        self._loaded: dict[str, LoadedModel] | None = None

    def __getitem__(self, name: str) -> LoadedModel:
        return self.load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.load())

    def __len__(self) -> int:
        return len(self.load())

    def load(self) -> dict[str, LoadedModel]:
        """Every model. Later calls return the same.

        Raises:
            ServingError: One of them cannot be loaded; the next call tries again.
        """
        with self._lock:
            if self._loaded is None:
                sources = find_models(self._environ, self._models, root=self._root)
                self._loaded = {source.name: load(source.directory, source.digest) for source in sources}
            return self._loaded

    def answer(self, body: bytes = b"") -> dict[str, object]:
        """The answer to a probe with this body, as JSON values; to a challenge, with the proofs.

        Raises:
            ServingError: A model cannot be loaded. Answer with an error: the release stops.
        """
        loaded = self.load()
        found: dict[str, object] = {
            "models": {name: model.describe() for name, model in loaded.items()},
            "load_s": round(sum(model.load_s for model in loaded.values()), 4),
            "function_version": self._environ.get("FC_FUNCTION_VERSION", ""),
            "region": self._environ.get("FC_REGION", ""),
        }
        asked = parse_challenge(body)
        if asked is not None:
            found["proofs"] = self.prove(asked)
        return found

    def prove(self, asked: Challenge) -> dict[str, str]:
        """The answers to a challenge, by the digest of each version."""
        return {model.digest: model.prove(asked) for model in self.load().values()}
