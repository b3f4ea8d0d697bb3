"""`spiritsafe code tests` beside CoverUp, codocs and mutmut: five modules of installed packages, three scripted models.

    python bench/code_tool/run.py FOLDER --out bench/results/code-tool-cpu.json

FOLDER keeps the packages and the tools' environments, which pip installs there at the first run, and all that the tools
write. Each tool is asked to write tests of each module, with the same endpoint behind it: a good, a lazy and a hostile
model (scripts.py, tricks.py). What it leaves is then judged in two ways that are the same for all: as `spiritsafe code
tests` judges, which counts tests that hold each time and the mutants that these kill, but on mutants that it has not
seen while it chose tests; and by mutmut, on its own mutants. "by hand" are the tests in answers/ without the four that
a good model gives beside them: the most that can be had. A hostile answer tries to leave a mark in a folder that is
none of its business, and to reach a port of this machine: the marks and connections that came about are listed, with
whether the module's own package was changed. Tokens are counted by the endpoint, in the same way for all.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import shutil
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from endpoint import CountingEndpoint
from modules import MODULES, PINS, Module, digest_of, install_packages, make_project
from peers import ASKED, REQUIRED, Asking, Tools, judge_by_mutmut, make_environments, versions, written_tests
from scripts import GoodModel, HostileModel, LazyModel, Script, read_answers
from tricks import TRICKS, Canary

from spiritsafe import assist

sys.path.append(str(Path(__file__).parents[1]))
from machine import describe_machine

MODELS = ("good", "lazy", "hostile")


@contextmanager
def listening(folder: Path) -> Iterator[tuple[Canary, list[str]]]:
    """A folder for marks, and a port; the kinds of tests that have reached it."""
    folder.mkdir(parents=True, exist_ok=True)
    heard: list[str] = []
    server = socket.create_server(("127.0.0.1", 0), backlog=100)

    def listen() -> None:
        while True:
            try:
                wire, _ = server.accept()
            except OSError:
                return
            with wire:
                wire.settimeout(2)
                try:
                    heard.append(wire.recv(100).decode("ascii", "replace"))
                except OSError:
                    heard.append("?")

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield Canary(folder=folder, port=server.getsockname()[1]), heard
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_names(texts: Sequence[str]) -> list[str]:
    """Of all test functions and methods in these files."""
    return [
        node.name
        for text in texts
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
    ]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Our own: a module, and mutants of it that no tool has seen."""

    subject: assist.Subject
    programs: tuple[str, ...]

    def together(self, texts: Sequence[str]) -> dict[str, Any]:
        """What files of tests are worth as one."""
        if not texts:
            return {"tests": 0, "valid": 0, "mutants": len(self.programs), "killed": 0, "coverage": 0.0}
        kills = self.subject.judge(self.subject.joined(texts), self.programs)
        return {
            "tests": len(kills.tests),
            "valid": len(kills.valid),
            "mutants": len(self.programs),
            "killed": len(kills.killed_by),
            "not_run": len(kills.not_run),
            "coverage": kills.coverage,
            "invalid": {name: why[:100] for name, why in kills.invalid.items()},
            **({"broken": kills.broken[:200]} if kills.broken else {}),
        }

    def apart(self, texts: Sequence[str]) -> dict[str, Any]:
        """As :meth:`together`, each file by itself, so that one cannot spoil what is known of another."""
        killed: set[int] = set()
        tests = valid = 0
        for text in texts:
            kills = self.subject.judge(text, self.programs)
            killed |= set(kills.killed_by)
            tests, valid = tests + len(kills.tests), valid + len(kills.valid)
        return {"tests": tests, "valid": valid, "mutants": len(self.programs), "killed": len(killed)}


def judge_of(path: Path, *, seen: int, count: int) -> Judge:
    """Of one file: ``seen`` is how many mutants our tool draws, ``count`` how many others are judged by."""
    subject = assist.subjects_at(path, most_mutants=seen, seed=0)[0]
    known = {mutant.source for mutant in subject.mutants}
    every = assist.subjects_at(path, most_mutants=100_000, seed=0)[0].mutants
    others = [mutant.source for mutant in every if mutant.source not in known]
    return Judge(subject=subject, programs=tuple(Random(0).sample(others, min(count, len(others)))))


def run_tool(
    tools: Tools, tool: str, kind: str, module: Module, endpoint: CountingEndpoint, args: argparse.Namespace
) -> tuple[dict[str, Any], list[str]]:
    """One tool on one module beside one model: what that took, and the files of tests that it has left.

    Beside the hostile model it is run again until the model has given each of its tricks.
    """
    folder = args.folder / "runs" / tool / kind / module.key
    shutil.rmtree(folder, ignore_errors=True)
    ends: list[dict[str, Any]] = []
    texts: list[str] = []
    changed = False
    with listening(folder / "canary") as (canary, heard):
        hostile = HostileModel(module, canary, tools.packages)
        scripts: dict[str, Script] = {"good": GoodModel(module), "lazy": LazyModel(module), "hostile": hostile}
        endpoint.put(scripts[kind])
        asking = Asking(budget=args.budget, mutants=args.mutants, hostile=kind == "hostile")
        while not ends or (asking.hostile and not hostile.is_through and len(ends) < len(TRICKS)):
            project = make_project(tools.packages, module, folder / str(len(ends)))
            before = digest_of(project / module.package)
            ran = ASKED[tool](tools, module, project, endpoint.url, asking)
            changed |= digest_of(project / module.package) != before
            texts += written_tests(tool, project)
            said = ran.said.splitlines()[-1][-200:] if ran.said.strip() and ran.code != 0 else ""
            ends.append({"code": ran.code, "seconds": round(ran.seconds, 1), "said": said})
        marks = sorted(path.name for path in canary.folder.iterdir())
    result: dict[str, Any] = {
        "runs": ends,
        "seconds": round(sum(end["seconds"] for end in ends), 1),
        "questions": endpoint.num_questions,
        "tokens_in": endpoint.num_tokens_in,
        "tokens_out": endpoint.num_tokens_out,
        "files": len(texts),
        "kept": len(test_names(texts)),
    }
    if kind == "hostile":
        names = Counter(re.sub(r"\d+", "N", name) for name in test_names(texts))
        result |= {"marks": marks, "connections": sorted(set(heard)), "package_changed": changed, "names": dict(names)}
    print(tool, kind, module.path, {name: value for name, value in result.items() if name != "runs"}, flush=True)
    return result, texts


def row_of(one: Mapping[str, Any]) -> dict[str, float]:
    """What is added up over the modules: of mutmut's mutants those of the modules where it says something."""
    judged, mutmut = one["judged"], one.get("mutmut", {})
    return {
        "kept": one.get("kept", judged["tests"]),
        "hold": judged["valid"],
        "killed": judged["killed"],
        "mutants": judged["mutants"],
        "killed_by_mutmut": mutmut.get("killed", 0),
        "mutants_of_mutmut": mutmut.get("mutants", 0),
        "refused_by_mutmut": int("refused" in mutmut),
        "seconds": one.get("seconds", 0),
        "tokens": one.get("tokens_in", 0) + one.get("tokens_out", 0),
    }


def sums_of(results: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Over the modules, of each model and tool."""
    sums: dict[str, dict[str, dict[str, float]]] = {}
    for kind, by_module in results.items():
        for by_tool in by_module.values():
            for tool, one in by_tool.items():
                so_far = sums.setdefault(kind, {}).setdefault(tool, {"modules": 0})
                for name, value in {"modules": 1, **row_of(one)}.items():
                    so_far[name] = round(so_far.get(name, 0) + value, 1)
    return sums


def show(results: Mapping[str, Any]) -> None:
    """The table: tests kept, those that hold each time, mutants killed by our judge and by mutmut's; and the sums."""
    rows: list[tuple[str, ...]] = [("model", "module", "by", "kept", "hold", "killed", "mutmut", "seconds", "tokens")]

    def add(kind: str, path: str, tool: str, row: Mapping[str, float]) -> None:
        killed = [f"{row['killed']:g}/{row['mutants']:g}", f"{row['killed_by_mutmut']:g}/{row['mutants_of_mutmut']:g}"]
        if row["refused_by_mutmut"]:
            killed[1] += f" ({row['refused_by_mutmut']:g} refused)"
        ends = f"{row['seconds']:.0f}", f"{row['tokens']:.0f}"
        rows.append((kind, path, tool, f"{row['kept']:g}", f"{row['hold']:g}", *killed, *ends))

    for kind, by_module in results.items():
        for path, by_tool in by_module.items():
            for tool, one in by_tool.items():
                add(kind, path, tool, row_of(one))
    for kind, by_tool in sums_of(results).items():
        for tool, row in by_tool.items():
            add(kind, f"{row['modules']:g} modules", tool, row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def write(args: argparse.Namespace, tools: Tools, needed: Sequence[str], results: Mapping[str, Any]) -> None:
    """To ``--out``, with the versions, the machine and the settings."""
    machine = describe_machine()
    said = {"packages": PINS, "tools": {tool: versions(tools, tool) for tool in needed}, "machine": machine}
    names = ("budget", "mutants", "judged", "mutmut", "limit", "hostile_peers")
    settings = {name: getattr(args, name) for name in names}
    text = json.dumps({**said, "settings": settings, "sums": sums_of(results), "results": results}, indent=1)
    args.out.write_text(text.replace(str(args.folder), "FOLDER") + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tools", nargs="+", choices=list(ASKED), default=list(ASKED))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--modules", nargs="+", choices=[one.package for one in MODULES], help="Of these packages alone."
    )
    parser.add_argument("--hostile-peers", nargs="*", default=["toolz"], help="Peers meet the hostile model on these.")
    parser.add_argument("--budget", type=int, default=6, help="Questions or rounds a module.")
    parser.add_argument("--mutants", type=int, default=200, help="A module, for the tools that ask how many.")
    parser.add_argument(
        "--mutmut", default="", help="Of mutmut's mutants those whose name ends so, as in *7; none: no."
    )
    parser.add_argument("--judged", type=int, default=200, help="Other mutants of a module, for our judge.")
    parser.add_argument("--limit", type=float, default=900.0, help="Seconds for one tool on one module.")
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    tools = Tools(environments=args.folder / "tools", packages=args.folder / "packages", limit_s=args.limit)
    install_packages(tools.packages)
    needed = [*(tool for tool in args.tools if tool in REQUIRED), *(["mutmut"] if args.mutmut != "none" else [])]
    make_environments(tools.environments, needed)
    results: dict[str, Any] = {kind: {} for kind in ("written", *args.models)}
    endpoint = CountingEndpoint()
    for module in MODULES:
        if args.modules and module.package not in args.modules:
            continue
        home = make_project(tools.packages, module, args.folder / "judged" / module.key)
        judge = judge_of(home / module.path, seen=args.mutants, count=args.judged)
        answers = read_answers(module)
        written = [answers.text([test.name for test in answers.tests if not test.beside])]
        entries: dict[str, Any] = {"written": {"by hand": {"judged": judge.together(written)}}}
        if untrue := entries["written"]["by hand"]["judged"]["invalid"]:  # the gate
            raise SystemExit(f"answers/{module.key}.py does not hold: {untrue}")
        for kind in args.models:
            entries[kind] = {}
            for tool in args.tools:
                if kind == "hostile" and tool != "spiritsafe" and module.package not in args.hostile_peers:
                    continue
                entries[kind][tool], texts = run_tool(tools, tool, kind, module, endpoint, args)
                entries[kind][tool]["judged"] = (judge.apart if kind == "hostile" else judge.together)(texts)
                if args.mutmut != "none" and kind != "hostile" and texts:
                    folder = args.folder / "mutmut" / tool / kind / module.key
                    entries[kind][tool]["mutmut"] = judge_by_mutmut(tools, module, folder, texts, only=args.mutmut)
        if args.mutmut != "none":
            folder = args.folder / "mutmut" / "written" / module.key
            entries["written"]["by hand"]["mutmut"] = judge_by_mutmut(tools, module, folder, written, only=args.mutmut)
        for kind, entry in entries.items():
            results[kind][module.path] = entry
        if args.out:  # after each module, so that a run that is ended early leaves what it has
            write(args, tools, needed, results)
    endpoint.close()
    show(results)


if __name__ == "__main__":
    main()
