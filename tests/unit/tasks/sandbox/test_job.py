from __future__ import annotations

import base64
import json

import pytest

from spiritsafe.tasks.sandbox.job import Limits, Run, RunResult, RunStep, RunStepResult, Stop


def test_a_step_is_a_program_or_a_python_file() -> None:
    assert RunStep(argv=("/bin/cat", "x"), stdin="in", must=False).to_json() == {
        "argv": ("/bin/cat", "x"),
        "stdin": "in",
        "must": False,
        "channel": False,
    }
    assert RunStep(python="a.py", arguments=("1",), has_channel=True).to_json() == {
        "python": "a.py",
        "arguments": ("1",),
        "stdin": "",
        "must": True,
        "channel": True,
    }


def test_whatever_stands_in_files_can_be_told_in_ascii() -> None:
    every = bytes(range(256))
    files = {"bytes": every, "text": "grüße \ud800 \0", "ä/ö": ""}
    told = json.loads(json.dumps(Run(files=files, steps=(RunStep(argv=("x",)),)).to_json()).encode("ascii"))
    assert base64.b64decode(told["files"].pop("bytes")["base64"]) == every
    assert told["files"] == {"text": "grüße \ud800 \0", "ä/ö": ""}


def test_the_sandbox_is_told_the_limits_that_it_sets_itself() -> None:
    limits = Limits(cpu_s=2.5, wall_s=9.0, memory_bytes=1, output_bytes=2, file_bytes=3, processes=4)
    told = Run(steps=(), environment={"A": "b"}, collect=("c",), limits=limits).to_json()
    # time and output are bounded outside, where foreign code cannot reach
    assert told["limits"] == {"cpu_s": 2.5, "memory_bytes": 1, "file_bytes": 3, "processes": 4}
    assert (told["environment"], told["collect"]) == ({"A": "b"}, ["c"])


def test_output_that_is_no_text_is_shown_all_the_same() -> None:
    step = RunStepResult(code=0, out=b"a\xffb", err="ü".encode())
    assert (step.text, step.errors) == ("a\ufffdb", "ü")


@pytest.mark.parametrize(
    ("codes", "stop", "is_well"),
    [
        ((0,), None, True),
        ((0, 0), None, True),
        ((0, 1), None, False),
        ((0, -9), None, False),
        ((0, None), None, False),
        ((0,), "output", False),
    ],
)
def test_a_run_has_ended_well_if_nothing_went_wrong(
    codes: tuple[int | None, ...], stop: Stop | None, is_well: bool
) -> None:
    steps = tuple(RunStepResult(code=code) for code in codes)
    assert RunResult(steps=steps, stop=stop, files={}, layer="x").has_ended_well is is_well


def test_too_many_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 80 steps, not 81"):
        Run(steps=(RunStep(argv=("/bin/true",)),) * 81)
