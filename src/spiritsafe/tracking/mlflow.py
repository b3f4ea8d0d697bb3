"""MLflow: to the server or database that ``MLFLOW_TRACKING_URI`` names, else ``mlflow.db`` in the working folder.

A run that goes on is found again by the tag ``spiritsafe.run``, which holds its hash.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, final

from spiritsafe.tracking.registry import Points, TrackedRun, Tracker, register_tracker

_TAG = "spiritsafe.run"
_MOST_AT_ONCE = 1000
"""Metrics that MLflow takes in one request."""


@final
@register_tracker("mlflow", "mlflow")
class MlflowTracker(Tracker):
    """Through MLflow's client, which adds no tags of its own: no user, no source, no commit."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        import mlflow

        self._metric: Any = mlflow.entities.Metric
        self._client: Any = mlflow.MlflowClient()
        known = self._client.get_experiment_by_name(run.project)
        experiment = self._client.create_experiment(run.project) if known is None else known.experiment_id
        found = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{run.id}'", max_results=1)
        made = found[0] if found else self._client.create_run(experiment, run_name=run.name, tags={_TAG: run.id})
        self._id = made.info.run_id
        self._client.update_run(self._id, status="RUNNING")

    def log(self, points: Sequence[Points]) -> None:
        """Send them, many in a request."""
        metrics = [
            self._metric(name, value, round(1000 * one.time), one.step)
            for one in points
            for name, value in one.values.items()
        ]
        for start in range(0, len(metrics), _MOST_AT_ONCE):
            self._client.log_batch(self._id, metrics=metrics[start : start + _MOST_AT_ONCE])

    def close(self) -> None:
        """Mark the run as finished there; one that goes on is running again."""
        self._client.set_terminated(self._id)
