"""`[signals.NAME]`: metrics that canary analysis reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from syncd.config.fields import Endpoint, SecretField
from syncd.config.table import Table
from syncd.signals.base import PrometheusSettings

_Expression = Annotated[str, Field(min_length=1, max_length=4096)]


class PrometheusSignalSettings(Table):
    """One figure from Prometheus, or from what speaks its HTTP API."""

    kind: Literal["prometheus"]
    url: Endpoint  # where /api/v1/query is, without that
    query: _Expression
    at_most: Annotated[float, Field(allow_inf_nan=False)]  # more than that is bad
    samples_query: _Expression
    samples_min: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0  # with fewer the figure says nothing
    user: str = ""
    token: SecretField | None = None

    @property
    def figure(self) -> PrometheusSettings:
        """What the room itself needs of it."""
        return PrometheusSettings(self.url, self.query, self.at_most, self.samples_query, self.samples_min)
