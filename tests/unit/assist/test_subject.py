"""The protocol has no code: whoever follows it is tried here by the type checker, and by its own tests."""

from __future__ import annotations

import inspect

from fake_subject import FakeSubject

from spiritsafe.assist.compiled.subject import CompiledSubject
from spiritsafe.assist.subject import Subject


def test_those_who_follow_it_have_all_of_it() -> None:
    methods = [name for name, value in vars(Subject).items() if inspect.isfunction(value) and not name.startswith("_")]
    assert methods
    for kind in (FakeSubject, CompiledSubject):
        for name in methods:
            wanted = list(inspect.signature(getattr(Subject, name)).parameters)
            assert list(inspect.signature(getattr(kind, name)).parameters) == wanted
        assert set(inspect.get_annotations(Subject)) <= set(inspect.get_annotations(kind))
