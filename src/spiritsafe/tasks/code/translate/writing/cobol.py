"""Writes COBOL: a subprogram in free format, and one more for each function that it calls.

In: functions. Out: source. Variables stand in LOCAL-STORAGE, so that each call finds them fresh; what COBOL has no
expression for is worked out before the statement that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.tasks.code.languages.cobol import (
    COBOL_DECLARATIONS,
    FREE_FORMAT,
    RESULT_NAME,
    parameter_name,
    program_name,
)
from spiritsafe.tasks.code.translate.tree import (
    Append,
    Assign,
    CountLoop,
    EachLoop,
    Function,
    If,
    Jump,
    Return,
    SetItem,
    Statement,
    While,
    changed_in,
    conjuncts,
    mentions,
    negated,
)
from spiritsafe.tasks.code.translate.writing.cobol_values import CobolValues
from spiritsafe.tasks.code.translate.writing.layout import CodeBlock

_DECLARED: dict[str, str] = {str(kind): line for kind, line in COBOL_DECLARATIONS.items()}
_DECLARED |= {"char": "01 {0} PIC X.", "edited": "01 {0} PIC -(19)9."}


def write_cobol(functions: Sequence[Function], entry: str) -> str:
    """Subprograms with these functions.

    Args:
        functions: The entry and those that it calls.
        entry: The name of the first one that is written.
    """
    ordered = sorted(functions, key=lambda one: one.name != entry)
    return "\n".join([FREE_FORMAT, *(_program(one) for one in ordered), ""])


def _program(function: Function) -> str:
    values = CobolValues(function)
    _body(values, function.body)
    name = program_name(function.name)
    given = [(parameter_name(parameter), kind) for parameter, kind in function.parameters]
    given.append((RESULT_NAME, function.result))
    block = CodeBlock(4)
    for line in ("IDENTIFICATION DIVISION.", f"PROGRAM-ID. {name}.", "DATA DIVISION."):
        block.add(line)
    if values.temporaries.declared:
        block.add("LOCAL-STORAGE SECTION.")
        for variable, kind in values.temporaries.declared:
            block.add(_DECLARED[kind].format(variable))
    block.add("LINKAGE SECTION.")
    for variable, kind in given:
        block.add(_DECLARED[kind].format(variable))
    block.add(f"PROCEDURE DIVISION USING {' '.join(variable for variable, _ in given)}.")
    block.insert(values.block.lines, by=1)
    block.lines[-1] = (block.lines[-1][0], f"{block.lines[-1][1]}.")
    block.add(f"END PROGRAM {name}.")
    return block.text()


def _body(values: CobolValues, body: Sequence[Statement]) -> None:
    before = len(values.block.lines)
    for statement in body:
        with values.temporaries.statement():
            _statement(values, statement)
    if len(values.block.lines) == before:
        values.block.add("CONTINUE")


def _statement(values: CobolValues, statement: Statement) -> None:
    block = values.block
    match statement:
        case Assign():
            values.set(values.variables[statement.name], statement.value, values.kinds[statement.name])
        case SetItem():
            place = values.place(statement.index)
            values.set(f"{values.variables[statement.name]}-ITEM({place})", statement.value, "int")
        case Append():
            values.add_item(values.variables[statement.name], statement.value)
        case If():
            _if(values, statement)
        case While():
            _while(values, statement)
        case CountLoop():
            _count(values, statement)
        case EachLoop():
            _each(values, statement)
        case Return():
            values.set(RESULT_NAME, statement.value, values.result)
            block.add("GOBACK")
        case Jump():
            block.add("EXIT PERFORM" if statement.is_end else "EXIT PERFORM CYCLE")


def _inside(values: CobolValues, body: Sequence[Statement]) -> None:
    with values.block.deeper():
        _body(values, body)


def _if(values: CobolValues, statement: If) -> None:
    parts = conjuncts(statement.condition)
    if not statement.otherwise and len(parts) > 1 and not values.is_flat(statement.condition):
        rest = statement.body
        for part in reversed(parts):
            rest = (If(part, rest, ()),)
        _body(values, rest)
        return
    branches, others = _chain(values, statement)
    if len(branches) > 1:
        _evaluate(values, branches, others)
        return
    block = values.block
    block.add(f"IF {values.condition(statement.condition)}")
    _inside(values, statement.body)
    if statement.otherwise:
        block.add("ELSE")
        _inside(values, statement.otherwise)
    block.add("END-IF")


def _chain(values: CobolValues, statement: If) -> tuple[list[If], Sequence[Statement]]:
    """Branches of which each is asked for if the ones before do not hold, and what is done if none does."""
    branches = [statement]
    rest = statement.otherwise
    while len(rest) == 1 and isinstance(rest[0], If) and values.is_flat(rest[0].condition):
        branches.append(rest[0])
        rest = rest[0].otherwise
    return branches, rest


def _evaluate(values: CobolValues, branches: Sequence[If], rest: Sequence[Statement]) -> None:
    block = values.block
    first = values.condition(branches[0].condition)
    block.add("EVALUATE TRUE")
    with block.deeper():
        for branch in branches:
            block.add(f"WHEN {first if branch is branches[0] else values.condition(branch.condition)}")
            _inside(values, branch.body)
        if rest:
            block.add("WHEN OTHER")
            _inside(values, rest)
    block.add("END-EVALUATE")


def _while(values: CobolValues, statement: While) -> None:
    block, condition = values.block, statement.condition
    if condition.op == "const" and condition.value is True:
        block.add("PERFORM UNTIL EXIT")
    elif values.is_flat(condition):
        block.add(f"PERFORM UNTIL {values.condition(negated(condition))}")
    else:
        block.add("PERFORM UNTIL EXIT")
        with block.deeper():
            for part in conjuncts(condition):
                block.add(f"IF {values.condition(negated(part))}\n    EXIT PERFORM\nEND-IF")
    _inside(values, statement.body)
    block.add("END-PERFORM")


def _count(values: CobolValues, statement: CountLoop) -> None:
    name = values.variables[statement.name]
    counter = name if statement.is_own else values.temporary("int")
    changed = changed_in(statement.body)
    first = values.simple(statement.first)
    is_still = not any(mentions(statement.end, one) for one in changed | {statement.name})
    end = values.number(statement.end) if is_still and values.is_flat(statement.end) else values.held(statement.end)
    sign = ">=" if statement.step > 0 else "<="
    values.block.add(f"PERFORM VARYING {counter} FROM {first} BY {statement.step} UNTIL {counter} {sign} {end}")
    with values.block.deeper():
        if counter != name:
            values.move(counter, name)
        _body(values, statement.body)
    values.block.add("END-PERFORM")


def _each(values: CobolValues, statement: EachLoop) -> None:
    whole = statement.whole
    is_still = whole.op == "var" and whole.value not in changed_in(statement.body)
    over = values.variables[str(whole.value)] if is_still and whole.kind != "char" else values.whole(whole, is_new=True)
    place = values.temporary("int", "PLACE")
    values.block.add(f"PERFORM VARYING {place} FROM 1 BY 1 UNTIL {place} > {over}-LENGTH")
    with values.block.deeper():
        item = f"{over}-ITEM({place})" if whole.kind == "ints" else f"{over}-TEXT({place}:1)"
        kind = values.kinds[statement.name]
        values.move_character(item, values.variables[statement.name], kind)
        _body(values, statement.body)
    values.block.add("END-PERFORM")
