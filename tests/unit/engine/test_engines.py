"""The conformance suite, bound to each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from syncd.engine.dbos import DbosEngine
from syncd.engine.memory import MemoryEngine

from tests.conformance.engine import EngineConformance


class TestDbosEngine(EngineConformance):
    @pytest.fixture
    def engine(self, database_url: str) -> Iterator[DbosEngine]:
        engine = DbosEngine(database_url, poll_s=0.02)
        yield engine
        engine.stop(0.0)
        engine.close()


class TestMemoryEngine(EngineConformance):
    @pytest.fixture
    def engine(self) -> MemoryEngine:
        return MemoryEngine()
