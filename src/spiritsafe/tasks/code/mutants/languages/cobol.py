"""Faults of COBOL programs, free and fixed form, by their words; in the PROCEDURE DIVISION only.

In: a program. Out: the edits that put one fault into a statement. In fixed form, code stays within columns 8 to 72, and
what stands behind them stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.mutants.cobol_words.conditions import Relation, conditions_of, relations_of
from spiritsafe.tasks.code.mutants.cobol_words.literals import CobolFault, literal_changes
from spiritsafe.tasks.code.mutants.cobol_words.sentences import CobolStatement, cobol_statements
from spiritsafe.tasks.code.mutants.cobol_words.words import cobol_columns, procedure_words
from spiritsafe.tasks.code.mutants.columns import ProgramWord, written
from spiritsafe.tasks.code.mutants.mutant import Edit

_COMPARE = {
    "<": ("<=", ">=", "NOT ="),
    "<=": ("<", ">", "="),
    ">": (">=", "<=", "NOT ="),
    ">=": (">", "<", "="),
    "=": ("NOT =", "<=", ">="),
    "<>": ("=", "<", ">"),
}
_WORDED = {
    "<": "LESS THAN",
    "<=": "LESS THAN OR EQUAL TO",
    ">": "GREATER THAN",
    ">=": "GREATER THAN OR EQUAL TO",
    "=": "EQUAL TO",
    "NOT =": "NOT EQUAL TO",
}
_ORDERED = {"<", "<=", ">", ">="}
_ALONE = {"MOVE", "SET", "DISPLAY", "INITIALIZE", "INSPECT", "EVALUATE"}  # no clause for errors is theirs
_DELETED = {"MOVE", "SET", "DISPLAY", "INITIALIZE", "INSPECT"} | {
    "ADD", "SUBTRACT", "COMPUTE", "MULTIPLY", "DIVIDE", "STRING", "UNSTRING", "CALL", "ACCEPT",
}  # fmt: skip
_INLINE = {"UNTIL", "VARYING", "WITH", "TEST", "FOREVER"}


def edits_of(source: str) -> list[Edit]:
    """Every fault that can be put into a program.

    Raises:
        TaskError: It has no PROCEDURE DIVISION.
    """
    words = list(procedure_words(source))
    if not words:
        raise TaskError("The program has no PROCEDURE DIVISION.", hint="Mutate a COBOL program that does something.")
    columns = cobol_columns(source)
    edits: list[Edit] = []
    for statement in cobol_statements(words):
        for change in _changes(statement, source):
            splices, shown = list(change.splices), change.shown
            edit = columns.edit(change.operator, source, splices, shown)
            if edit is None and change.shorter is not None:  # signs fit where words do not
                first = splices[0]
                edit = columns.edit(change.operator, source, [(first[0], first[1], change.shorter)])
            edits += [edit] if edit is not None else []
    return edits


def _changes(statement: CobolStatement, source: str) -> Iterator[CobolFault]:
    yield from _without(statement, source)
    yield from _other_verb(statement, source)
    for kind, condition in conditions_of(statement.words):
        yield from _condition(kind, condition, source)
    yield from literal_changes(statement)
    words = statement.words
    if statement.verb == "EXIT" and len(words) > 1 and words[1].up == "PERFORM":
        if words[-1].up == "CYCLE":
            yield CobolFault.put("loop", words[1].end, words[-1].end, "", shown=("EXIT PERFORM CYCLE", "EXIT PERFORM"))
        else:
            new = _like(words[0], " CYCLE")
            yield CobolFault.put("loop", words[1].end, words[1].end, new, shown=("EXIT PERFORM", "EXIT PERFORM CYCLE"))
    if statement.verb == "EVALUATE" and len(words) > 1 and words[1].up in ("TRUE", "FALSE"):
        new = _like(words[1], "FALSE" if words[1].up == "TRUE" else "TRUE")
        yield CobolFault.put("truth", words[1].start, words[1].end, new)


def _like(word: ProgramWord, text: str) -> str:
    """The text in small letters where the word is."""
    return text.lower() if word.text.islower() else text


def _without(statement: CobolStatement, source: str) -> Iterator[CobolFault]:
    """Without the statement, or without what a branch does."""
    words = [*statement.words, *([statement.closer] if statement.closer else [])]
    is_called = statement.verb == "PERFORM" and _is_out_of_line(statement.words)
    needed = statement.has_clause and statement.verb not in _ALONE
    if (statement.verb in _DELETED or is_called) and not needed:
        new = _like(words[0], "CONTINUE")
        yield CobolFault.put("delete", words[0].start, words[-1].end, new, shown=(written(source, words), new))
    if len(body := statement.body) > 1:
        new = _like(body[0], "CONTINUE")
        yield CobolFault.put("branch", body[0].start, body[-1].end, new, shown=(written(source, body), new))


def _is_out_of_line(words: Sequence[ProgramWord]) -> bool:
    """Whether a PERFORM names a paragraph, and has no statements of its own."""
    second = words[1] if len(words) > 1 else None
    if second is None or second.kind != "word" or second.up in _INLINE:
        return False
    return len(words) < 3 or words[2].up != "TIMES"


def _other_verb(statement: CobolStatement, source: str) -> Iterator[CobolFault]:
    """Subtract instead of add, divide instead of multiply, and the other way round, where the rest can stay."""
    words, verb = statement.words, statement.verb
    ups = [word.up for word in words]
    other, link = {
        "ADD": ("SUBTRACT", {"TO": "FROM"}),
        "SUBTRACT": ("ADD", {"FROM": "TO"}),
        "MULTIPLY": ("DIVIDE", {"BY": "BY" if "GIVING" in ups else "INTO"}),
        "DIVIDE": ("MULTIPLY", {"BY": "BY", "INTO": "BY"}),
    }.get(verb, ("", {}))
    links = [word for word in words if word.up in link]
    if not other or len(links) != 1 or "REMAINDER" in ups or ("CORRESPONDING" in ups or "CORR" in ups):
        return
    changed = [(words[0], other), (links[0], link[links[0].up])]
    if statement.closer is not None:
        changed.append((statement.closer, f"END-{other}"))
    elif statement.has_clause:
        return  # its END- stands behind what the clause does
    splices = [(word.start, word.end, _like(word, text)) for word, text in changed if word.up != text]
    others = {id(word): replace(word, text=_like(word, text)) for word, text in changed}
    shown = (written(source, words), written(source, [others.get(id(word), word) for word in words]))
    yield CobolFault("arithmetic", tuple(splices), shown)


def _condition(kind: str, words: Sequence[ProgramWord], source: str) -> Iterator[CobolFault]:
    if not words:
        return
    start, end = words[0].start, words[-1].end
    relations = list(relations_of(words))
    joined = {place for place, word in enumerate(words) if word.up in ("AND", "OR")}
    joined -= {near for one in relations for near in range(one.place, one.place + one.length)}
    for place in sorted(joined):
        new = _like(words[place], "OR" if words[place].up == "AND" else "AND")
        yield CobolFault.put("logic", words[place].start, words[place].end, new)
    for relation in relations:
        yield from _relation(words, relation)
    negated = {relation.place for relation in relations if relation.is_negated}
    for place, word in enumerate(words[:-1]):
        if word.up == "NOT" and place not in negated:
            yield CobolFault.put("not", word.start, words[place + 1].start, "", shown=(word.text, ""))
    if kind == "WHEN":
        return  # behind EVALUATE it need not be a condition
    for constant in ("1 = 1", "1 = 0")[: 2 if kind == "IF" else 1]:  # an endless loop is noticed by its time alone
        yield CobolFault.put("condition", start, end, constant, shown=(written(source, words), constant))
    if len(relations) != 1 or joined:
        shown = (written(source, words), f"NOT ({written(source, words)})")
        yield CobolFault("not", ((start, start, _like(words[0], "NOT (")), (end, end, ")")), shown)
    if kind == "UNTIL":
        yield from _bounds(words, relations)


def _relation(words: Sequence[ProgramWord], relation: Relation) -> Iterator[CobolFault]:
    first, last = words[relation.place], words[relation.place + relation.length - 1]
    after = words[relation.place + relation.length :]
    if relation.is_negated:
        yield CobolFault.put("compare", first.start, words[relation.place + 1].start, "", shown=("NOT", ""))
        if relation.sign != "=":
            return
    others: tuple[str, ...] = ("<", ">") if relation.is_negated else _COMPARE[relation.sign]
    if after and after[0].up in ("NULL", "NULLS", "ADDRESS"):
        others = tuple(other for other in others if other not in _ORDERED)
    for other in others:
        shorter = other if relation.is_worded else None
        new = _like(first, _WORDED[other]) if relation.is_worded else _like(words[0], other)
        yield CobolFault.put("compare", first.start, last.end, new, shorter=shorter)


def _bounds(words: Sequence[ProgramWord], relations: Sequence[Relation]) -> Iterator[CobolFault]:
    """One more and one less than where a loop ends; numbers have faults of their own."""
    for relation in relations:
        place = relation.place + relation.length
        is_last = place + 1 == len(words) or (place + 1 < len(words) and words[place + 1].up in ("AND", "OR"))
        if place < len(words) and is_last and words[place].kind == "word" and relation.sign in _ORDERED:
            bound = words[place]
            for change in (" + 1", " - 1"):
                yield CobolFault.put("bound", bound.end, bound.end, change, shown=(bound.text, bound.text + change))
