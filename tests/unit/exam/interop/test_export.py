from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from places import ROOT

from spiritsafe.core.errors import RecipeError
from spiritsafe.exam import load_certificate
from spiritsafe.exam.interop.export import EXPORT_FORMATS, export_certificate
from spiritsafe.ledger import KeyPair

PUBLISHED = sorted((ROOT / "experiments").glob("*/*.certificate.json"))[0]


@pytest.mark.parametrize("kind", EXPORT_FORMATS)
def test_each_format_exports(kind: str) -> None:
    document, _ = export_certificate(load_certificate(PUBLISHED), kind, None)
    assert document


def test_a_signature_is_refused_where_there_is_no_place_for_one() -> None:
    with pytest.raises(RecipeError, match="no signatures"):
        export_certificate(load_certificate(PUBLISHED), "every-eval-ever", KeyPair.generate("Eve"))


def test_another_format_is_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("stranger_format")
    module.export = lambda certificate, signer: ({"name": certificate.result.model_name}, "written")
    monkeypatch.setitem(sys.modules, "stranger_format", module)
    monkeypatch.setitem(EXPORT_FORMATS, "stranger", "stranger_format")
    certificate = load_certificate(PUBLISHED)
    assert export_certificate(certificate, "stranger", None) == ({"name": certificate.result.model_name}, "written")
