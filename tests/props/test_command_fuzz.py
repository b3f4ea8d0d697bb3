"""No bad file, word or recipe brings a traceback or a run without end: a seeded sample here, all of it on request.

``SPIRITSAFE_FUZZ=all pytest tests/props/test_command_fuzz.py -s`` tries every case and 720 recipes, and says how they
ended; a number instead of "all" tries so many.
"""

from __future__ import annotations

import os
import random
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_fuzz import UNEXPECTED, Bench, Runaway, bad_recipe, commands, quick, run_main
from fake_endpoint import FakeEndpoint

SIZE = os.environ.get("SPIRITSAFE_FUZZ", "60")
SEED = int(os.environ.get("SPIRITSAFE_FUZZ_SEED", "7"))
MOST_GROWTH_KIB = 1 << 20
pytestmark = pytest.mark.timeout(0)  # each run has a limit of its own


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    endpoint = FakeEndpoint(lambda body: "#### 7")
    with pytest.MonkeyPatch.context() as patch:
        quick(patch)
        try:
            yield Bench(tmp_path_factory.mktemp("fuzz"), endpoint.url)
        finally:
            endpoint.close()


def hold(what: str, runs: list[tuple[str, Callable[[], tuple[int, str]]]]) -> None:
    """Do all runs; tell all that went wrong at once."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bad, codes = [], Counter[int]()
    for name, run in runs:
        try:
            code, said = run()
        except Runaway:
            bad.append(f"{name}: no end")
            continue
        except Exception as error:  # noqa: BLE001  it got past the boundary
            bad.append(f"{name}: {type(error).__name__} past the boundary: {error}"[:300])
            continue
        codes[code] += 1
        if code == UNEXPECTED or "Traceback" in said:
            bad.append(f"{name}: {said.strip()[:300]}")
        elif code not in (0, 2) and "Error: " not in said:
            bad.append(f"{name}: exit code {code} without a word")
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    sys.stderr.write(
        f"{what}: {len(runs)} runs, exit codes {dict(sorted(codes.items()))}, peak memory +{growth >> 10} MiB\n"
    )
    assert not bad, "\n".join(bad)
    assert growth < MOST_GROWTH_KIB


def test_every_command_is_tried(bench: Bench) -> None:
    assert set(bench._lines) == set(commands())
    tried = {case.name for case in bench.cases()}
    flags_only = {name for name, one in commands().items() if all(getattr(p, "is_flag", False) for p in one.params)}
    assert tried == commands().keys() - flags_only  # nothing can be put wrongly there


def test_bad_files_and_bad_words_end_in_one_sentence(bench: Bench) -> None:
    cases = bench.cases()
    if SIZE != "all":
        cases = random.Random(SEED).sample(cases, min(int(SIZE), len(cases)))
    hold("command lines", [(str(case), lambda n=n, c=case: bench.run(c, n)) for n, case in enumerate(cases)])  # type: ignore[misc]


def test_bad_recipes_end_in_one_sentence(bench: Bench, tmp_path: Path) -> None:
    count, rng = 720 if SIZE == "all" else min(720, max(1, int(SIZE) // 3)), random.Random(SEED)
    runs = []
    for number in range(count):
        path = tmp_path / f"{number}.toml"
        changes, text = bad_recipe(rng, wild=number % 9 < 4)
        path.write_text(text, "utf-8")
        runs.append((changes, lambda path=path: run_main(["plan", str(path)])))
    hold("recipes", runs)  # type: ignore[arg-type]
