"""Fortran: a module ``solution``, in free form, that contains the function.

In: a module's source, or functions without a module, which get one. Out: results. Whole numbers are of kind 8, and so
is ``integer`` without a kind (``-fdefault-integer-8``), so that literals and lengths go with them. Each input has a
process of its own, forked by the driver: one that crashes loses no other.
"""

from __future__ import annotations

import re
import secrets
import textwrap
from collections.abc import Sequence
from functools import cache

from spiritsafe.tasks.code.languages.language import Language
from spiritsafe.tasks.code.languages.signature import MOST_CHARACTERS, CodeSignature, CodeValue, ValueType
from spiritsafe.tasks.code.languages.trial import Trial, input_lines
from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep
from spiritsafe.tasks.sandbox.walls import find_tool

FORTRAN_PARAMETERS: dict[ValueType, str] = {
    "int": "integer(8), intent(in) :: {}",
    "bool": "logical, intent(in) :: {}",
    "str": "character(len=*), intent(in) :: {}",
    "ints": "integer(8), intent(in) :: {}(:)",
}
FORTRAN_VARIABLES: dict[ValueType, str] = {
    "int": "integer(8) :: {}",
    "bool": "logical :: {}",
    "str": "character(len=:), allocatable :: {}",
    "ints": "integer(8), allocatable :: {}(:)",
}
FORTRAN_EXAMPLES: dict[ValueType, str] = {"int": "1_8", "bool": ".true.", "str": "'abc'", "ints": "[1_8, 2_8]"}
FORTRAN_FLAGS = (
    *("-O1", "-w", "-fdefault-integer-8", "-ffree-form", "-ffree-line-length-none"),
    # what nobody set is the same each time, so that a program which leans on it is wrong each time
    *("-finit-integer=-7071", "-finit-logical=true", "-finit-character=88", "-finit-real=snan", "-finit-derived"),
    # not of pointers: gfortran 14 takes a list that got an empty section xs(4:2) for one that was never allocated
    *("-fcheck=all", "-fcheck=no-pointer", "-fcheck=no-recursion", "-frecursive", "-fno-backtrace"),
)
_MODULE = re.compile(r"^[ \t]*module[ \t]+(?!procedure\b)(\w+)[ \t]*(?:!.*)?$", re.IGNORECASE | re.MULTILINE)
_PROGRAM = re.compile(r"^[ \t]*program[ \t]+\w+[ \t]*$", re.IGNORECASE | re.MULTILINE)
_PROGRAM_END = re.compile(r"^[ \t]*end[ \t]*program\b[^\n]*$", re.IGNORECASE | re.MULTILINE)


@cache
def fortran_compiler() -> str | None:
    """The newest that there is."""
    return next((found for name in ("gfortran-14", "gfortran") if (found := find_tool(name))), None)


def _why_not() -> str | None:
    return None if fortran_compiler() else "gfortran is not installed: apt-get install gfortran"


def _skeleton(signature: CodeSignature) -> str:
    names = ", ".join(name for name, _ in signature.parameters)
    declarations = [FORTRAN_PARAMETERS[kind].format(name) for name, kind in signature.parameters]
    declarations.append(FORTRAN_VARIABLES[signature.result].format("answer"))
    body = "\n".join(f"    {line}" for line in declarations)
    return f"""module solution
  implicit none
contains
  function {signature.name}({names}) result(answer)
{body}
    ! ...
  end function {signature.name}
end module solution
"""


def with_fortran_module(source: str, name: str) -> tuple[str, str]:
    """The source, with a module if it has none and without a program of its own; and the module's name."""
    source = _without_programs(source)
    function = re.search(rf"^[^!'\"\n]*\bfunction[ \t]+{name}\b", source, re.IGNORECASE | re.MULTILINE)
    modules = [found for found in _MODULE.finditer(source) if function is None or found.start() < function.start()]
    if modules:
        return source, modules[-1].group(1)
    return f"module solution\ncontains\n{source}\nend module solution\n", "solution"


def _without_programs(source: str) -> str:
    """In time that grows as the source does, even where a program has no end."""
    kept, place = [], 0
    while (head := _PROGRAM.search(source, place)) and (end := _PROGRAM_END.search(source, head.end())):
        kept.append(source[place : head.start()])
        place = end.end()
    return "".join([*kept, source[place:]])


_DRIVER = """program driver_of_solution
  use, intrinsic :: iso_c_binding, only: c_int
  use {module}, only: function_tried => {name}
  implicit none
  interface
    function process_forked() bind(c, name="fork") result(pid)
      import :: c_int
      integer(c_int) :: pid
    end function
    function process_awaited(pid, status, options) bind(c, name="waitpid") result(ended)
      import :: c_int
      integer(c_int), value :: pid, options
      integer(c_int), intent(out) :: status
      integer(c_int) :: ended
    end function
  end interface
  character(len={width}), allocatable :: lines(:)
  character(len=32) :: mark
  integer(8) :: place, number, item, num_lines, num_inputs
  integer(c_int) :: pid, status
{declarations}
  read (*, '(a)') mark
  read (*, *) num_lines, num_inputs
  allocate (lines(num_lines))
  do item = 1, num_lines
    read (*, '(a)') lines(item)
  end do
  place = 0
  do number = 0, num_inputs - 1
{reading}
    write (0, '(a, 1x, i0)') mark, number
    flush (0)
    pid = process_forked()
    if (pid == 0) then
      given = function_tried({arguments})
{writing}
      stop
    end if
    pid = process_awaited(pid, status, 0_c_int)
    write (0, '(a, " ended ", i0)') mark, status
    if (iand(status, 127_c_int) == 24) exit
  end do
end program
"""
"""All is read before anything is forked: processes share where standard input is."""
_READING: dict[ValueType, str] = {
    "int": "place = place + 1\nread (lines(place), *) {0}",
    "bool": "place = place + 1\nread (lines(place), *) item\n{0} = item == 1",
    "str": "place = place + 2\nread (lines(place - 1), *) item\n{0} = lines(place)(1:item)",
    "ints": """place = place + 1
read (lines(place), *) item
if (allocated({0})) deallocate ({0})
allocate ({0}(item))
do item = 1, size({0})
  place = place + 1
  read (lines(place), *) {0}(item)
end do""",
}
_WRITING: dict[ValueType, str] = {
    "int": "write (*, '(a, 1x, i0, 1x, i0)') mark, number, given",
    "bool": "write (*, '(a, 1x, i0, 1x, i0)') mark, number, merge(1, 0, given)",
    "str": "write (*, '(a, 1x, i0, 1x, i0, 1x, a)') mark, number, len(given), given",
    "ints": "write (*, '(a, 1x, i0, 1x, i0, *(1x, i0))') mark, number, size(given), given",
}


def _driver(signature: CodeSignature, module: str) -> str:
    names = [f"value_{place}" for place in range(len(signature.parameters))]
    kinds = [kind for _, kind in signature.parameters]
    declarations = [FORTRAN_VARIABLES[kind].format(name) for name, kind in zip(names, kinds, strict=True)]
    declarations.append(FORTRAN_VARIABLES[signature.result].format("given"))
    reading = [_READING[kind].format(name) for name, kind in zip(names, kinds, strict=True)]
    return _DRIVER.format(
        module=module,
        name=signature.name,
        width=MOST_CHARACTERS,
        declarations=textwrap.indent("\n".join(declarations), "  "),
        reading=textwrap.indent("\n".join(reading), "    "),
        arguments=", ".join(names),
        writing=textwrap.indent(_WRITING[signature.result], "      "),
    )


def _trial(source: str, signature: CodeSignature, inputs: Sequence[Sequence[CodeValue]], limits: Limits) -> Trial:
    mark = secrets.token_hex(16)
    solution, module = with_fortran_module(source, signature.name)
    compiler = (fortran_compiler() or "gfortran", *FORTRAN_FLAGS)
    run = Run(
        files={
            "solution.f90": solution.encode("utf-8", "replace"),
            "driver.f90": _driver(signature, module),
        },
        steps=(
            RunStep(argv=(*compiler, "-c", "solution.f90")),
            RunStep(argv=(*compiler, "-o", "main", "driver.f90", "solution.o")),
            RunStep(argv=("./main",), stdin=_told(signature, inputs, mark)),
        ),
        limits=limits,
    )
    return Trial(run=run, mark=mark, result=signature.result, num_inputs=len(inputs))


def _told(signature: CodeSignature, inputs: Sequence[Sequence[CodeValue]], mark: str) -> str:
    lines = list(input_lines(signature, inputs))
    return "".join(f"{line}\n" for line in (mark, f"{len(lines)} {len(inputs)}", *lines))


LANGUAGE = Language(
    name="fortran",
    title="Fortran",
    fences=("fortran", "f90", "f95", "f03", "f08", "fortran90"),
    skeleton=_skeleton,
    trial=_trial,
    why_not=_why_not,
)
