"""Serving: models behind the interfaces that clients know, where nothing that is asked for is ignored.

:func:`make_app` makes the application of models and :class:`Hooks`, :func:`make_app_runner` runs it. An interface is
one file in :mod:`spiritsafe.serve.api`. :func:`serve` does all that ``spiritsafe serve`` does: keys, limits, queues,
usage, metrics, certificates, an orderly end. Needs neither torch nor transformers: weights live in processes of their
own, which are talked to through :mod:`spiritsafe.core.serving`.
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
    from spiritsafe.serve.operation.certificates import CertificateFiles
    from spiritsafe.serve.operation.control import QueueLimits
    from spiritsafe.serve.operation.keys import KeyRing, make_key
    from spiritsafe.serve.operation.serving import (
        ModelToServe,
        ServerSettings,
        is_loopback,
        open_port,
        serve,
        url_of,
    )
    from spiritsafe.serve.operation.usage import UsageGroup, UsageLedger, UsageTotal, usage_totals
    from spiritsafe.serve.refusals import Refusal
    from spiritsafe.serve.routing.calibrate import calibrate_router
    from spiritsafe.serve.routing.engine import AUTO, RoutedEngine
    from spiritsafe.serve.routing.evidence import LEAST_PROBLEMS, RouteCost, RouteEvidence, evidence_of, read_evidence
    from spiritsafe.serve.routing.generator import RoutedGenerator
    from spiritsafe.serve.routing.records import (
        RoutedRung,
        RoutePoint,
        Router,
        RouterKind,
        read_router,
        require_served,
        write_router,
    )
    from spiritsafe.serve.routing.system import RoutedSystem, place_of, read_routed, write_routed
    from spiritsafe.serve.workers.client import WorkerEngine, worker_command
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "AUTO", "LEAST_PROBLEMS", "AdmissionControl", "Authoriser", "Caller", "CertificateFiles", "Deployment", "Hooks",
    "KeyRing", "ModelFacts", "ModelToServe", "QueueLimits", "Readiness", "Refusal", "RouteCost", "RouteEvidence",
    "RoutePoint", "RoutedEngine", "RoutedGenerator", "RoutedRung", "RoutedSystem", "Router", "RouterKind",
    "ServerLimits", "ServerSettings", "Usage", "UsageGroup", "UsageLedger", "UsageRecorder", "UsageTotal",
    "WorkerEngine", "calibrate_router", "evidence_of", "interfaces", "is_loopback", "make_app", "make_app_runner",
    "make_key", "open_port", "openapi_document", "place_of", "read_evidence", "read_routed", "read_router",
    "require_served", "serve", "url_of", "usage_totals", "worker_command", "write_routed", "write_router",
]  # fmt: skip
