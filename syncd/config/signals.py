"""`[signals.NAME]`: metrics that canary analysis reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from syncd.config.fields import Endpoint, SecretField
from syncd.config.table import Table
from syncd.signals.base import PrometheusSettings

_Expression = Annotated[str, Field(min_length=1, max_length=4096)]


class PrometheusSignalSettings(Table):
    """One metric from Prometheus, or from a server with its HTTP API."""

    kind: Literal["prometheus"]
    url: Endpoint  # the base of /api/v1/query
    query: _Expression
    at_most: Annotated[float, Field(allow_inf_nan=False)]  # a larger value is bad
    samples_query: _Expression
    samples_min: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0  # with fewer, the value is not conclusive
    user: str = ""
    token: SecretField | None = None

    @property
    def figure(self) -> PrometheusSettings:
        """The values for the signals package."""
        return PrometheusSettings(self.url, self.query, self.at_most, self.samples_query, self.samples_min)
