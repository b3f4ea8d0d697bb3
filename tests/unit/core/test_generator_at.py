"""Generators by their addresses."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from spiritsafe.core import generator as module
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.generator import generator_at
from spiritsafe.rollouts.generators.remote import RemoteGenerator


def test_an_endpoint_is_spoken_to_by_http() -> None:
    generator = generator_at("http://127.0.0.1:9/v1", "a-model")
    assert isinstance(generator, RemoteGenerator)
    assert "a-model" in generator.describe().name
    generator.close()


@pytest.mark.parametrize("address", ["", "tiny:0", "ftp://here/v1", "/a/path"])
def test_other_addresses_are_refused_with_what_is_known(address: str) -> None:
    with pytest.raises(RecipeError, match="is no address of a model") as error:
        generator_at(address, "x")
    assert "http://" in str(error.value.hint)


def test_an_address_that_nobody_can_speak_to_is_refused() -> None:
    with pytest.raises(RecipeError, match="no endpoint of a model"):
        generator_at("http://", "x")


def test_any_installed_package_can_bring_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("lab", "collections:OrderedDict", "spiritsafe.generators")
    monkeypatch.setattr(module, "entry_points", lambda group: [point])
    with pytest.raises(TypeError):  # what it names is called with what was given
        generator_at("lab://7", "x")
    with pytest.raises(RecipeError, match="http://there"):
        generator_at("http://there", "x")
