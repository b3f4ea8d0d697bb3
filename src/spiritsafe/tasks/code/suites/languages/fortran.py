"""Tests in Fortran: subroutines without arguments of modules that use ``solution``, or a whole program.

In: a module's text. Out: see :mod:`~spiritsafe.tasks.code.suites.compiled`. The module ``solution`` that tests are
compiled with has the function's interface, and sends what it is given to the other side.
"""

from __future__ import annotations

import textwrap
from functools import partial

from spiritsafe.tasks.code.languages.fortran import (
    FORTRAN_EXAMPLES,
    FORTRAN_FLAGS,
    FORTRAN_PARAMETERS,
    FORTRAN_VARIABLES,
    fortran_compiler,
    with_fortran_module,
)
from spiritsafe.tasks.code.languages.signature import CodeSignature, ValueType
from spiritsafe.tasks.code.suites.compiled import BuildPart, CompiledLanguage, TestsPart, c_file, compiled_kills
from spiritsafe.tasks.code.suites.fortran_units import fortran_tests
from spiritsafe.tasks.code.suites.suite import Suite

_INTERFACE = """interface
  subroutine send__(bytes__, count__) bind(c, name="suite_send")
    import :: c_ptr__
    type(c_ptr__), value :: bytes__
    integer(8), value :: count__
  end subroutine
  subroutine receive__(bytes__, count__) bind(c, name="suite_receive")
    import :: c_ptr__
    type(c_ptr__), value :: bytes__
    integer(8), value :: count__
  end subroutine
  subroutine begin__() bind(c, name="{begin}")
  end subroutine
  subroutine await__() bind(c, name="suite_await")
  end subroutine
end interface
"""
"""Two underscores are in no name of a signature."""
_C_TYPES = "use, intrinsic :: iso_c_binding, only: c_loc__ => c_loc, c_ptr__ => c_ptr"
_BUFFERS = """integer(8), target :: number__
integer(8), allocatable, target :: items__(:)
character(len=:), allocatable, target :: text__
"""
_FILLS: dict[ValueType, str] = {
    "int": "number__ = {0}",
    "bool": "number__ = merge(1_8, 0_8, {0})",
    "str": "number__ = len({0})\ntext__ = {0}",
    "ints": "number__ = size({0})\nitems__ = {0}",
}
_SENT_NUMBER = "call send__(c_loc__(number__), 8_8)"
_SENDS: dict[ValueType, str] = {
    "int": _SENT_NUMBER,
    "bool": _SENT_NUMBER,
    "str": f"{_SENT_NUMBER}\nif (number__ > 0) call send__(c_loc__(text__), number__)",
    "ints": f"{_SENT_NUMBER}\nif (number__ > 0) call send__(c_loc__(items__), 8 * number__)",
}
_RECEIVED_NUMBER = "call receive__(c_loc__(number__), 8_8)"
_RECEIVES: dict[ValueType, str] = {
    "int": f"{_RECEIVED_NUMBER}\n{{0}} = number__",
    "bool": f"{_RECEIVED_NUMBER}\n{{0}} = number__ /= 0",
    "str": f"""{_RECEIVED_NUMBER}
if (allocated(text__)) deallocate (text__)
allocate (character(len=number__) :: text__)
if (number__ > 0) call receive__(c_loc__(text__), number__)
{{0}} = text__""",
    "ints": f"""{_RECEIVED_NUMBER}
if (allocated(items__)) deallocate (items__)
allocate (items__(number__))
if (number__ > 0) call receive__(c_loc__(items__), 8 * number__)
{{0}} = items__""",
}
_SUBSTITUTE = """module solution
  {c_types}
  implicit none
  private
  public :: {name}
{interface}
contains
  function {name}({names}) result(answer)
{declarations}
{buffers}
    call begin__()
{sends}
    call await__()
{receives}
  end function
end module solution
"""
_ANSWER = """subroutine answer_call() bind(c, name="answer_call")
  {c_types}
  use {module}, only: function_tried__ => {name}
  implicit none
{interface}
{buffers}
{declarations}
{receives}
  given__ = function_tried__({names})
{fills}
  call begin__()
{sends}
end subroutine
"""
"""What can crash stands before the answer is begun: the other side waits for all of it."""
_BEGIN = """
void answer_call(void);
int suite_serve(void (*answer)(void), const char *microseconds);
int suite_begin(const char *microseconds) { return suite_serve(answer_call, microseconds); }
"""
FORTRAN_TESTS_MAIN = """
#include <stdlib.h>

typedef void test(void);
extern test {declared};
static test *const tests[] = {{{named}}};

static int call(int number) {{
    if (tests[number] == NULL) {{
        puts("nobody outside of its module can call it");
        return 1;
    }}
    tests[number]();
    return 0;
}}

int main(int argc, char **argv) {{ return argc < 2 || suite_tests(call, argv[1]); }}
"""


def _lines(parts: list[str], margin: int) -> str:
    return textwrap.indent("\n".join(part.rstrip() for part in parts), " " * margin)


def _substitute(signature: CodeSignature) -> str:
    """The module that tests use."""
    parameters = signature.parameters
    return _SUBSTITUTE.format(
        c_types=_C_TYPES,
        name=signature.name,
        names=", ".join(name for name, _ in parameters),
        interface=_lines([_INTERFACE.format(begin="suite_call")], 2),
        declarations=_lines(
            [
                *(FORTRAN_PARAMETERS[kind].format(name) for name, kind in parameters),
                FORTRAN_VARIABLES[signature.result].format("answer"),
            ],
            4,
        ),
        buffers=_lines([_BUFFERS], 4),
        sends=_lines([f"{_FILLS[kind].format(name)}\n{_SENDS[kind]}" for name, kind in parameters], 4),
        receives=_lines([_RECEIVES[signature.result].format("answer")], 4),
    )


def _answer(signature: CodeSignature, module: str) -> str:
    """What calls the function for a message of the other side."""
    named = [(f"value_{place}__", kind) for place, (_, kind) in enumerate(signature.parameters)]
    return _ANSWER.format(
        c_types=_C_TYPES,
        module=module,
        name=signature.name,
        names=", ".join(name for name, _ in named),
        interface=_lines([_INTERFACE.format(begin="suite_answer")], 2),
        buffers=_lines([_BUFFERS], 2),
        declarations=_lines(
            [FORTRAN_VARIABLES[kind].format(name) for name, kind in (*named, ("given__", signature.result))], 2
        ),
        receives=_lines([_RECEIVES[kind].format(name) for name, kind in named], 2),
        fills=_lines([_FILLS[signature.result].format("given__")], 2),
        sends=_lines([_SENDS[signature.result]], 2),
    )


def _gfortran() -> str:
    return fortran_compiler() or "gfortran"


def _shared(gold: str, signature: CodeSignature) -> BuildPart:
    solution, module = with_fortran_module(gold, signature.name)
    compiler = (_gfortran(), *FORTRAN_FLAGS, "-fPIC")
    return BuildPart(
        files={
            "solution.f90": solution.encode("utf-8", "replace"),
            "answer.f90": _answer(signature, module),
            "channel.c": c_file("channel.c") + _BEGIN,
            "host.c": c_file("host.c"),
        },
        commands=(
            (*compiler, "-c", "solution.f90"),
            (*compiler, "-c", "answer.f90"),
            (_gfortran(), "-O1", "-fPIC", "-c", "channel.c"),
            (_gfortran(), "-O1", "-o", "host", "host.c", "-ldl"),
        ),
        made="host",
    )


def _program(source: str, signature: CodeSignature, place: str) -> BuildPart:
    solution, _ = with_fortran_module(source, signature.name)
    made = f"{place}/code.so"
    return BuildPart(
        files={f"{place}/solution.f90": solution.encode("utf-8", "replace")},
        commands=(
            (
                *(_gfortran(), *FORTRAN_FLAGS, "-fPIC", "-shared", "-J", place, "-o", made),
                *(f"{place}/solution.f90", "answer.o", "channel.o"),
            ),
        ),
        made=made,
    )


def _tests(text: str, signature: CodeSignature) -> TestsPart | None:
    found = fortran_tests(text)
    if not found.tests and not found.program:
        return None
    symbols = [f"__{module}_MOD_{name}" for module, name in found.tests]
    main = FORTRAN_TESTS_MAIN.format(
        declared=", ".join(f"{symbol} __attribute__((weak))" for symbol in symbols), named=", ".join(symbols)
    )
    files: dict[str, str | bytes] = {
        "substitute.f90": _substitute(signature),
        "tests.f90": found.text.encode("utf-8", "replace"),
        "channel.c": c_file("channel.c"),
        **({"main.c": c_file("tests.c") + main} if symbols else {}),
    }
    compiler = (_gfortran(), *FORTRAN_FLAGS, "-ffpe-summary=none")
    part = BuildPart(files=files, commands=((*compiler, "-o", "tests", *files),), made="tests")
    if not symbols:
        return TestsPart(names=(found.program,), part=part, is_program=True)
    return TestsPart(names=_distinct(found.tests), part=part)


def _distinct(tests: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Their names, with their modules' where two are the same."""
    names = [name for _, name in tests]
    return tuple(name if names.count(name) == 1 else f"{module}.{name}" for module, name in tests)


def _rules(signature: CodeSignature) -> str:
    arguments = ", ".join(FORTRAN_EXAMPLES[kind] for _, kind in signature.parameters)
    other = ".neqv." if signature.result == "bool" else "/="
    call, wanted = f"{signature.name}({arguments})", FORTRAN_EXAMPLES[signature.result]
    check = f"any({call} /= {wanted})" if signature.result == "ints" else f"{call} {other} {wanted}"
    return f"""Write a Fortran module that uses the module `solution`, which has the function. Its tests are \
subroutines without arguments whose names begin with `test`; a test fails by `error stop`, and passes by returning. \
Each runs in a process of its own. `integer` without a kind is of kind 8.

```fortran
module tests
  use solution
  implicit none
contains
  subroutine test_first()
    if ({check}) error stop "first"
  end subroutine
end module
```"""


SUITE = Suite(
    run=partial(compiled_kills, CompiledLanguage(title="Fortran", shared=_shared, program=_program, tests=_tests)),
    rules=_rules,
)
