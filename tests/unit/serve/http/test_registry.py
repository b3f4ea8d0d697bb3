from __future__ import annotations

from spiritsafe.serve.http.registry import interfaces


def test_each_file_is_an_interface_with_a_path_of_its_own() -> None:
    paths = [interface.path for interface in interfaces()]
    assert paths == sorted(set(paths))
    assert {"/v1/chat/completions", "/v1/completions"} <= set(paths)
    for interface in interfaces():
        assert interface.summary.endswith(".")
        assert not set(interface.request.refused) & set(interface.request.model_fields)
        assert {name.split(".")[0] for name in interface.request.ignored} <= set(interface.request.model_fields)
