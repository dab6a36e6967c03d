"""`spec.monitoring`: dashboards, alerts and drift checks that come with the model."""

from typing import Annotated

from pydantic import Field

from moorage.api.v1alpha1.section import Duration, Section, matching

ReferenceUri = Annotated[
    str,
    Field(max_length=2048),
    matching(
        r"(pvc|s3|gs|https)://[A-Za-z0-9/][A-Za-z0-9._~:/%+=,-]*",
        "expected pvc://, s3://, gs:// or https:// and a path, for instance s3://BUCKET/reference.parquet",
    ),
]


class Alerts(Section):
    """Thresholds of the alerts that come with the model."""

    error_rate_percent: int | None = Field(
        default=None, ge=1, le=100, description="Share of failed requests that raises an alert."
    )
    latency_p95: Duration | None = Field(
        default=None, description="95th percentile of the latency that raises an alert."
    )


class Drift(Section):
    """Comparison of what the model sees now with what it was trained on."""

    reference_uri: ReferenceUri = Field(
        description="A snapshot of reference data.",
    )
    min_samples: int | None = Field(default=None, ge=1, le=10000000, description="Fewest rows of one comparison.")


class Monitoring(Section):
    """What watches the model."""

    dashboard: bool | None = Field(default=None, description="Whether a Grafana dashboard is made.")
    alerts: Alerts | None = Field(default=None, description="Thresholds of the alerts.")
    drift: Drift | None = Field(default=None, description="Drift checks.")
