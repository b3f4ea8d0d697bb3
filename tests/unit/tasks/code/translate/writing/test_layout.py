from __future__ import annotations

from spiritsafe.tasks.code.translate.writing.layout import CodeBlock, Names, plain_name


def test_lines_stand_as_deep_as_they_were_added() -> None:
    block = CodeBlock(2)
    block.add("if a\n  x")
    with block.deeper():
        block.add("b")
        with block.aside() as lines:
            block.add("c")
    block.insert(lines, by=1)
    block.add("end")
    assert block.text() == "if a\n  x\n  b\n    c\nend"


def test_long_lines_go_on_where_they_are_best_read() -> None:
    block = CodeBlock(2)
    with block.deeper():
        block.add("if (" + " and ".join(["a"] * 12) + " .and. " + "b + " * 20 + "c .or. f(x, y)) then")
    lines = block.text(more=" &").split("\n")
    assert all(len(line) <= 100 for line in lines)
    assert [line.endswith(" &") for line in lines] == [True, True, False]
    assert all(line.startswith("      ") for line in lines[1:])
    assert [line.split()[0] for line in lines] == ["if", ".and.", ".or."]


def test_texts_in_quotes_are_not_broken() -> None:
    block = CodeBlock(2)
    text = "call it('" + "word " * 30 + "', \"" + "it's " * 10 + '")'
    block.add(text)
    found = block.text().split("\n")
    assert " ".join(line.strip() for line in found) == text
    assert any("word " * 30 in line for line in found)
    block = CodeBlock(2)
    block.add("x" * 300)
    assert block.text() == "x" * 300


def test_names_are_given_once_with_all_their_parts() -> None:
    names = Names(["LEN", "ws-result"])
    assert names.give("len") == "len_2"
    assert names.give("len") == "len_3"
    assert names.give("WS-X", ("", "-LENGTH")) == "WS-X"
    assert names.give("WS-X-LENGTH") == "WS-X-LENGTH-2"
    assert names.give("WS-Y-LENGTH") == "WS-Y-LENGTH"
    assert names.give("WS-Y", ("", "-LENGTH")) == "WS-Y-2"
    copy = names.copy()
    assert copy.give("a") == "a"
    assert names.give("a") == "a"
    names.restore(Names([]))
    assert names.give("a") == "a"


def test_names_become_plain() -> None:
    assert [plain_name(name) for name in ("_", "__x", "a_b", "a__b_", "nX")] == ["turn", "x", "a_b", "a_b", "nx"]
