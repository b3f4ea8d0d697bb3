from __future__ import annotations

import pytest
from pydantic import ValidationError
from report_parts import served_source

from spiritsafe.report import FileFigures, Rung, Source


def test_no_key_of_an_endpoint_is_kept() -> None:
    source = served_source()
    assert source.endpoint == "https://gpu-box:8000/v1"
    assert "secret" not in str(source.to_json())
    for url, kept in (
        ("http://:token@[::1]:8000/v1/", "http://[::1]:8000/v1/"),
        ("http://a@b@host/v1#secret", "http://host/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ):
        assert Source(name="t", license="MIT", endpoint=url).endpoint == kept


def test_a_model_comes_from_somewhere() -> None:
    with pytest.raises(ValidationError, match="neither a source nor an endpoint"):
        Source(name="t", license="MIT")
    both = Source(name="t", license="MIT", spec="hf:a/b", endpoint="http://host/v1", served_as="b")
    assert Source.from_json(both.to_json()) == both


def test_local_sources_keep_the_form_they_had() -> None:
    local = Source(name="t", license="MIT", spec="hf:a/b", digest="d", num_parameters=1, weight_bytes=2)
    assert set(local.to_json()) == {"name", "license", "spec", "digest", "num_parameters", "weight_bytes"}


def test_a_size_is_known_or_not_there() -> None:
    assert Rung(name="served", role="teacher").weight_bytes is None
    with pytest.raises(ValidationError, match="weight_bytes"):
        Rung(name="m", role="student", weight_bytes=0)


def test_a_file_says_how_it_is_stored_and_other_models_nothing() -> None:
    figures = FileFigures(file="q.gguf", of="m", type="Q4_K_M", bits_per_weight=5.126, substituted_share=0.0)
    file = Rung(name="q", role="quantised", weight_bytes=91_000_000, file=figures)
    assert file.storage == "Q4_K_M, 5.13 bits a weight"
    plain = Rung(name="m", role="student", weight_bytes=9)
    assert plain.storage is None
    assert set(plain.to_json()) == {"name", "role", "num_parameters", "weight_bytes"}  # as reports were before
