from __future__ import annotations

from spiritsafe.serve.answers.sse import data_event, named_event


def test_line_breaks_in_data_do_not_end_an_event() -> None:
    assert data_event({"a": "x\n\ny\r"}) == b'data: {"a":"x\\n\\ny\\r"}\n\n'
    assert named_event("error", 1) == b"event: error\ndata: 1\n\n"
