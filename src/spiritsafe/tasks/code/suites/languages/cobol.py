"""Tests in COBOL: programs without parameters whose names begin with TEST.

In: programs' text, in fixed or free format. Out: see :mod:`~spiritsafe.tasks.code.suites.compiled`. The program that
tests call sends its parameters to the other side, as they lie in storage, and takes them back as the other side left
them.
"""

from __future__ import annotations

import re
from functools import partial

from spiritsafe.tasks.code.languages.cobol import (
    COBOL_DECLARATIONS,
    FREE_FORMAT,
    RESULT_NAME,
    cobol_compiler,
    formatted_cobol,
    parameter_name,
    program_name,
)
from spiritsafe.tasks.code.languages.signature import MOST_CHARACTERS, MOST_ITEMS, CodeSignature, ValueType
from spiritsafe.tasks.code.suites.compiled import BuildPart, CompiledLanguage, TestsPart, c_file, compiled_kills
from spiritsafe.tasks.code.suites.suite import Suite

_BYTES: dict[ValueType, int] = {"int": 8, "bool": 1, "str": 4 + MOST_CHARACTERS, "ints": 4 + 8 * MOST_ITEMS}
"""Of a parameter's storage."""
_FLAGS = ("-debug", "-ffold-call=UPPER")
_SUBSTITUTE = """
int {symbol}({parameters}) {{
    int returned;
    suite_call();
{sends}
    suite_await();
{receives}
    suite_receive(&returned, sizeof returned);
    return returned;
}}
"""
_BEGIN = """
#include <libcob.h>

int {symbol}({parameters});
int suite_serve(void (*answer)(void), const char *microseconds);

static void answer(void) {{
    static unsigned char {storage};
{receives}
    int returned = {symbol}({names});
    suite_answer();
{sends}
    suite_send(&returned, sizeof returned);
}}

int suite_begin(const char *microseconds) {{
    cob_init(0, NULL);
    return suite_serve(answer, microseconds);
}}
"""
COBOL_TESTS_MAIN = """
#include <dlfcn.h>
#include <libcob.h>

static const char *const tests[] = {{{names}}};

static int call(int number) {{
    int (*test)(void) = cob_resolve(tests[number]);
    if (test == NULL) {{
        puts(cob_resolve_error());
        return 1;
    }}
    return test() != 0;
}}

int main(int argc, char **argv) {{
    cob_init(0, NULL);
    return argc < 2 {load} || suite_tests(call, argv[1]);
}}
"""
"""``load`` can load what the tests call, where it is not linked with them; it is true where that fails."""


def _cobc() -> str:
    return cobol_compiler() or "cobc"


def _c_parts(signature: CodeSignature) -> dict[str, str]:
    """What the files in C say of a signature."""
    sizes = [_BYTES[kind] for kind in (*(kind for _, kind in signature.parameters), signature.result)]
    names = [f"value_{place}" for place in range(len(sizes))]
    moved = [f"({name}, {size});" for name, size in zip(names, sizes, strict=True)]
    return {
        "symbol": program_name(signature.name).replace("-", "__"),
        "parameters": ", ".join(f"unsigned char *{name}" for name in names),
        "names": ", ".join(names),
        "storage": ", ".join(f"{name}[{size}]" for name, size in zip(names, sizes, strict=True)),
        "sends": "\n".join(f"    suite_send{one}" for one in moved),
        "receives": "\n".join(f"    suite_receive{one}" for one in moved),
    }


def _shared(gold: str, signature: CodeSignature) -> BuildPart:
    return BuildPart(
        files={"channel.c": c_file("channel.c") + _BEGIN.format(**_c_parts(signature)), "host.c": c_file("host.c")},
        commands=(
            ("gcc", "-O1", "-fPIC", "-c", "channel.c"),
            ("gcc", "-O1", "-o", "host", "host.c", "-ldl"),
        ),
        made="host",
    )


def _program(source: str, signature: CodeSignature, place: str) -> BuildPart:
    solution, is_free = formatted_cobol(source)
    made = f"{place}.so"
    compiler = (_cobc(), "-b", "-free" if is_free else "-fixed", *_FLAGS)
    return BuildPart(
        files={f"{place}.cob": f"{solution}\n".encode("utf-8", "replace")},
        commands=((*compiler, "-o", made, f"{place}.cob", "channel.o"),),
        made=made,
    )


_PROGRAM = re.compile(r"(?<![\w-])program-id\s*\.\s*[\"']?([\w-]+)", re.IGNORECASE)
_HAS_PARAMETERS = re.compile(r"\bprocedure\s+division\s+using\b", re.IGNORECASE)


def _names(text: str, *, is_free: bool) -> list[str]:
    """Programs without parameters whose names begin with TEST, in their order."""
    lines = text.splitlines() if is_free else [line[6:72] for line in text.splitlines() if line[6:7] not in tuple("*/")]
    code = "\n".join(line.partition("*>")[0].strip() for line in lines)
    heads = list(_PROGRAM.finditer(code))
    ends = [*(head.start() for head in heads), len(code)][1:]
    found = [
        head[1].upper()
        for head, end in zip(heads, ends, strict=True)
        if head[1].upper().startswith("TEST") and not _HAS_PARAMETERS.search(code, head.end(), end)
    ]
    return list(dict.fromkeys(found))


def _tests(text: str, signature: CodeSignature) -> TestsPart | None:
    formatted, is_free = formatted_cobol(text)
    names = _names(formatted, is_free=is_free)
    if not names:
        return None
    main = COBOL_TESTS_MAIN.format(names=", ".join(f'"{name}"' for name in names), load="")
    files: dict[str, str | bytes] = {
        "tests.cob": f"{formatted}\n".encode("utf-8", "replace"),
        "channel.c": c_file("channel.c") + _SUBSTITUTE.format(**_c_parts(signature)),
        "main.c": c_file("tests.c") + main,
    }
    commands = (
        (_cobc(), "-c", "-free" if is_free else "-fixed", *_FLAGS, "-o", "tests.o", "tests.cob"),
        (_cobc(), "-x", "-o", "tests", "main.c", "channel.c", "tests.o"),
    )
    return TestsPart(names=tuple(names), part=BuildPart(files=files, commands=commands, made="tests"))


_EXAMPLES: dict[ValueType, tuple[str, str]] = {
    "int": ("MOVE 1 TO {0}", "{0} NOT = 1"),
    "bool": ("MOVE 1 TO {0}", "{0} NOT = 1"),
    "str": ('MOVE 3 TO {0}-LENGTH\n    MOVE "abc" TO {0}-TEXT', '{0}-LENGTH NOT = 3 OR {0}-TEXT(1:3) NOT = "abc"'),
    "ints": ("MOVE 1 TO {0}-LENGTH\n    MOVE 7 TO {0}-ITEM(1)", "{0}-LENGTH NOT = 1 OR {0}-ITEM(1) NOT = 7"),
}


def _rules(signature: CodeSignature) -> str:
    named = [(parameter_name(name).replace("LK-", "WS-", 1), kind) for name, kind in signature.parameters]
    result = RESULT_NAME.replace("LK-", "WS-", 1)
    storage = "\n".join(COBOL_DECLARATIONS[kind].format(name) for name, kind in (*named, (result, signature.result)))
    moves = "\n".join(f"    {_EXAMPLES[kind][0].format(name)}" for name, kind in named)
    call = f'CALL "{program_name(signature.name)}" USING {" ".join((*(name for name, _ in named), result))}'
    return f"""Write COBOL programs, one after the other in one text. Tests are programs without parameters whose \
PROGRAM-ID begins with TEST; a test calls the function, fails by setting RETURN-CODE to 1 (go back at once, as the \
next CALL sets it anew), and passes by going back with RETURN-CODE 0. Each runs in a process of its own.

```cobol
{FREE_FORMAT}
IDENTIFICATION DIVISION.
PROGRAM-ID. TEST-FIRST.
DATA DIVISION.
WORKING-STORAGE SECTION.
{storage}
PROCEDURE DIVISION.
{moves}
    {call}
    IF {_EXAMPLES[signature.result][1].format(result)}
        MOVE 1 TO RETURN-CODE
    END-IF
    GOBACK.
END PROGRAM TEST-FIRST.
```"""


SUITE = Suite(
    run=partial(compiled_kills, CompiledLanguage(title="COBOL", shared=_shared, program=_program, tests=_tests)),
    rules=_rules,
)
