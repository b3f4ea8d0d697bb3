from __future__ import annotations

from spiritsafe.tasks.code.translate.writing.layout import CodeBlock, Names
from spiritsafe.tasks.code.translate.writing.temporaries import Temporaries


def test_a_statements_variables_are_free_after_it_and_not_before() -> None:
    temporaries = Temporaries(Names(["number"]))
    with temporaries.statement():
        outer = temporaries.take("number", "int")
        with temporaries.statement():
            inner = temporaries.take("number", "int")
        with temporaries.statement():
            assert temporaries.take("number", "int") == inner
            assert temporaries.take("number", "bool") not in (inner, outer)
    with temporaries.statement():
        assert {temporaries.take("number", "int") for _ in range(2)} == {outer, inner}
    assert [kind for _, kind in temporaries.declared] == ["int", "int", "bool"]
    assert len({name for name, _ in temporaries.declared} | {"number"}) == 4


def test_what_is_tried_leaves_nothing() -> None:
    block, temporaries = CodeBlock(2), Temporaries(Names([]), {"str": ("", "-TEXT")})
    with temporaries.statement():
        with temporaries.tried(block) as lines:
            tried = temporaries.take("part", "str")
            block.add("x")
        assert lines == [(0, "x")]
        assert block.lines == []
        assert temporaries.declared == []
        assert temporaries.take("part", "str") == tried
        assert temporaries.declare("part-text", "int") != "part-text"
