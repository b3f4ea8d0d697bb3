import inspect
import re

import pytest

from spiritsafe.core import errors
from spiritsafe.core.errors import EndpointError, SpiritsafeError, error_fields, error_from_fields

KINDS = SpiritsafeError.__subclasses__()


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_has_kin_a_code_and_a_next_step(kind: type[SpiritsafeError]) -> None:
    error = kind("It broke.", hint="Mend it.")
    assert isinstance(error, SpiritsafeError)
    assert str(error) == error.message == "It broke."
    assert error.diagnostics() == "It broke. Mend it."
    assert kind.exit_code > 1
    with pytest.raises(TypeError):
        kind("no hint")  # type: ignore[call-arg]  # the mistake under test


def test_exit_codes_tell_errors_apart() -> None:
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes.pop("RecipeError") == codes.pop("TaskError") == 2  # both: what was asked for is wrong
    assert len(set(codes.values())) == len(codes)


def test_the_drawing_shows_the_tree_as_it_is() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+)\s+\((\w+)\)", inspect.getdoc(errors) or ""))
    assert drawn == {kind.__name__: kind.__bases__[1].__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_crosses_a_pipe_as_it_is(kind: type[SpiritsafeError]) -> None:
    back = error_from_fields(error_fields(kind("It broke.", hint="Mend it.")), hint="")
    assert (type(back), back.message, back.hint) == (kind, "It broke.", "Mend it.")


@pytest.mark.parametrize("fields", [None, [], {}, {"type": "Any"}, {"type": "SystemExit"}, {"type": ["x"], "hint": ""}])
def test_what_is_no_error_of_ours_is_an_endpoint_error(fields: object) -> None:
    back = error_from_fields(fields, hint="Look there.")
    assert type(back) is EndpointError
    assert back.hint == "Look there."
    assert "KeyError" in error_from_fields(error_fields(KeyError("x")), hint="").message
