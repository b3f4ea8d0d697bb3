"""Serving: models behind the interfaces that clients know, where nothing that is asked for is ignored.

:func:`make_app` makes the application of models and :class:`Hooks`, :func:`make_app_runner` runs it. An interface is
one file in :mod:`spiritsafe.serve.api`. Needs neither torch nor transformers: weights live in processes of their own,
which are talked to through :mod:`spiritsafe.core.serving`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.serve.app import make_app, make_app_runner
    from spiritsafe.serve.hooks import (
        AdmissionControl,
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
    from spiritsafe.serve.http.openapi import openapi_document
    from spiritsafe.serve.http.registry import interfaces
    from spiritsafe.serve.refusals import Refusal
    from spiritsafe.serve.routing.calibrate import calibrate_router
    from spiritsafe.serve.routing.engine import AUTO, RoutedEngine
    from spiritsafe.serve.routing.evidence import RouteCost, RouteEvidence, read_evidence
    from spiritsafe.serve.routing.records import (
        RoutePoint,
        Router,
        RouterKind,
        Rung,
        read_router,
        require_served,
        write_router,
    )
    from spiritsafe.serve.workers.client import WorkerEngine, worker_command
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "AUTO", "AdmissionControl", "Authoriser", "Caller", "Deployment", "Hooks", "ModelFacts", "Readiness", "Refusal",
    "RouteCost", "RouteEvidence", "RoutePoint", "RoutedEngine", "Router", "RouterKind", "Rung", "ServerLimits",
    "Usage", "UsageRecorder", "WorkerEngine", "calibrate_router", "interfaces", "make_app", "make_app_runner",
    "openapi_document", "read_evidence", "read_router", "require_served", "worker_command", "write_router",
]  # fmt: skip
