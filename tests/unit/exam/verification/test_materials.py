from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import pytest
from exam_parts import Stage, ToyModel

from spiritsafe.cli.exam import command
from spiritsafe.exam import Materials, verification_of, verify


def test_the_call_by_names_is_the_same_verification(stage: Stage) -> None:
    stage.certificate(ToyModel())
    path = stage.root / "sitting" / "certificate.json"
    given = {"paper": stage.papers, "ledger": stage.ledger.path, "trusted_keys": [stage.examiner.public.key_id]}
    assert verify(path, **given) == verification_of(Materials(certificate=path, **given)).steps  # type: ignore[arg-type]


def test_a_name_that_is_no_material_is_refused() -> None:
    with pytest.raises(TypeError, match="ledgers"):
        verify(Path("certificate.json"), paper=None, ledgers=[])


def test_the_command_gives_nothing_that_is_no_material() -> None:
    """It hands its options on as they are named; a result file and a task of one's own it does not take."""
    names = {field.name for field in fields(Materials)}
    options = {parameter.name for parameter in command.commands["verify"].params}
    own = set(inspect.signature(inspect.unwrap(command.commands["verify"].callback)).parameters) - {"given"}  # type: ignore[arg-type]
    assert own == {"long", "as_json", "trust_page"}
    assert options - own == names - {"result", "task"}
