"""Compilers, and what they make, in the sandbox."""

from __future__ import annotations

import pytest
from compilers import COBOL, FORTRAN, compiler
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep

PROGRAMS = {
    FORTRAN: (
        "main.f90",
        "program main\n  integer :: n\n  read *, n\n  print '(I0)', n * 2\nend program\n",
        ("-O2", "-fcheck=all", "-o", "main"),
    ),
    COBOL: (
        "main.cob",
        "identification division.\nprogram-id. twice.\ndata division.\nworking-storage section.\n"
        "01 n pic 9(4).\n01 shown pic z(3)9.\nprocedure division.\n    accept n.\n    compute shown = n * 2.\n"
        "    display function trim(shown).\n    stop run.\n",
        ("-x", "-free", "-o", "main"),
    ),
}


@every_layer
@pytest.mark.parametrize("names", PROGRAMS, ids=["fortran", "cobol"])
def test_a_program_is_compiled_and_runs(layer: str, names: tuple[str, ...]) -> None:
    name, source, options = PROGRAMS[names]
    command = (compiler(names), *options, name)
    steps = (RunStep(argv=command), RunStep(argv=("./main",), stdin="21\n"))
    result = sandbox_of(layer).run(Run(files={name: source}, steps=steps, limits=Limits(cpu_s=20.0, wall_s=120.0)))
    assert result.has_ended_well, result.steps[0].errors
    assert result.steps[1].text == "42\n"
    broken = Run(files={name: source.replace("n * 2", "n *")}, steps=steps, limits=Limits(cpu_s=20.0, wall_s=120.0))
    result = sandbox_of(layer).run(broken)
    assert result.steps[0].code not in (0, None)
    assert "main." in result.steps[0].errors
    assert result.steps[1].code is None
