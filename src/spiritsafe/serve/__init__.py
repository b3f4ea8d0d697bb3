"""Serving: models behind the interfaces that clients know, where nothing that is asked for is ignored.

:func:`make_app` makes the application of models and :class:`Hooks`, :func:`make_runner` runs it. An interface is one
file in :mod:`spiritsafe.serve.api`. Needs neither torch nor transformers: weights live in processes of their own, which
are talked to through :mod:`spiritsafe.core.serving`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.serve.app import make_app, make_runner
    from spiritsafe.serve.hooks import (
        Admission,
        Authoriser,
        Caller,
        Deployment,
        Hooks,
        ModelFacts,
        Readiness,
        Usage,
        UsageRecorder,
    )
    from spiritsafe.serve.http.endpoint import ServerLimits
    from spiritsafe.serve.refusals import Refusal
    from spiritsafe.serve.workers.client import WorkerEngine, worker_command
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "Admission", "Authoriser", "Caller", "Deployment", "Hooks", "ModelFacts", "Readiness", "Refusal", "ServerLimits",
    "Usage", "UsageRecorder", "WorkerEngine", "make_app", "make_runner", "worker_command",
]  # fmt: skip
