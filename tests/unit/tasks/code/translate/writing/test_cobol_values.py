from __future__ import annotations

from spiritsafe.tasks.code.translate.reading.reader import read_program
from spiritsafe.tasks.code.translate.writing.cobol import write_cobol


def body_of(source: str) -> list[str]:
    text = write_cobol(read_program(source, "f"), "f")
    return [line.strip() for line in text.split("PROCEDURE DIVISION")[1].split("GOBACK")[0].split("\n")[1:-1]]


def test_what_a_text_is_made_of_is_read_before_it_changes() -> None:
    head = "def f(s: str, t: str) -> str:\n    {}\n    return s\n"
    assert body_of(head.format("s = s + 'ab'"))[:2] == [
        'MOVE "ab" TO LK-S-TEXT(LK-S-LENGTH + 1:2)',
        "ADD 2 TO LK-S-LENGTH",
    ]
    lines = body_of(head.format("s = s + t[0] + s[0]"))
    assert lines[0] == "MOVE LK-S TO WS-PART"
    assert "MOVE WS-PART TO LK-S" in lines
    lines = body_of("def f(xs: list[int]) -> list[int]:\n    xs.append(xs[-1])\n    return xs\n")
    assert lines[:3] == [
        "MOVE LK-XS-ITEM(LK-XS-LENGTH) TO WS-NUMBER",
        "ADD 1 TO LK-XS-LENGTH",
        "MOVE WS-NUMBER TO LK-XS-ITEM(LK-XS-LENGTH)",
    ]


def test_names_of_parts_are_nobody_elses() -> None:
    source = "def f(n: int) -> int:\n    xs = [n]\n    xs_length = 3\n    xs_item = 4\n"
    source += "    return len(xs) + xs_length + xs_item\n"
    text = write_cobol(read_program(source, "f"), "f")
    declared = [line.split()[1] for line in text.split("\n") if line.strip().startswith(("01 ", "05 "))]
    assert len(set(declared)) == len(declared)


def test_numbers_are_added_to_themselves() -> None:
    source = "def f(n: int) -> int:\n    n += 2\n    n -= 3\n    n += -5\n    n -= -n\n    n = n + n * 2\n"
    source += "    n += len(str(n))\n    xs = [n]\n    n += xs[0]\n    return n\n"
    lines = body_of(source)
    assert lines[-2] == "ADD WS-XS-ITEM(1) TO LK-N"
    assert lines[:5] == [
        "ADD 2 TO LK-N",
        "SUBTRACT 3 FROM LK-N",
        "ADD -5 TO LK-N",
        "COMPUTE LK-N = LK-N - (0 - LK-N)",
        "COMPUTE LK-N = LK-N + LK-N * 2",
    ]
