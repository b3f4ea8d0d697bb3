from __future__ import annotations

import pytest
from served_engine import served_model

from spiritsafe.core.records import Message, ToolCall
from spiritsafe.serve.asking.going_on import thinking_of, with_beginning
from spiritsafe.serve.refusals import Refusal

USER = Message(role="user", content="2 + 2?")


@pytest.mark.parametrize("switches", [True, False])
@pytest.mark.parametrize("thinks", [True, False])
@pytest.mark.parametrize("wish", [True, False, None])
def test_a_wish_is_had_where_the_model_does_so_or_has_a_switch(wish: bool | None, thinks: bool, switches: bool) -> None:
    model = served_model(thinks=thinks, switches_thinking=switches)
    if wish in (None, thinks) or switches:
        assert thinking_of(wish, model, "it") is wish
        return
    with pytest.raises(Refusal) as refused:
        thinking_of(wish, model, "it")
    assert (refused.value.param, refused.value.status) == ("it", 400)


def test_a_beginning_has_something_before_it_and_calls_nothing() -> None:
    begun = Message(role="assistant", content="It is ")
    assert with_beginning([USER, begun], "last") == ((USER,), "It is ")
    calling = begun.model_copy(update={"tool_calls": (ToolCall(name="look", arguments="{}"),)})
    for messages in ([begun], [USER, calling]):
        with pytest.raises(Refusal) as refused:
            with_beginning(messages, "last")
        assert refused.value.param == "last"
