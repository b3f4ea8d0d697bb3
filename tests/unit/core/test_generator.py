import pytest
from pydantic import ValidationError

from spiritsafe.core.generator import Generator, GeneratorInfo


def test_info_has_a_canonical_form_and_careful_defaults() -> None:
    info = GeneratorInfo(name="m", digest="sha256:0", kind="local")
    assert not info.has_token_ids
    assert not info.has_logprobs
    assert GeneratorInfo.from_json(info.to_json()) == info
    with pytest.raises(ValidationError):
        GeneratorInfo(name="m", digest="d", kind="local", speed=1)  # type: ignore[call-arg]  # the mistake under test


def test_the_protocol_is_these_four_methods() -> None:
    """Every room that has a Generator implements exactly these: a fifth is a change for all of them."""
    methods = {name for name in vars(Generator) if not name.startswith("_")}
    assert methods == {"describe", "generate", "score", "close"}
