"""docs/data.md: its table has every benchmark that goes by a name, as it is read."""

from __future__ import annotations

from pathlib import Path

from spiritsafe.tasks.data.benchmarks import BENCHMARKS

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_every_benchmark_stands_in_the_table() -> None:
    table = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    for name, benchmark in BENCHMARKS.items():
        (row,) = (line for line in table if f"`{name}`" in line.split("|")[1])
        cells = [cell.strip() for cell in row.split("|")[2:5]]
        assert f"`{benchmark.hub}`" in cells[0]
        assert f"`{benchmark.knobs['config']}`" in cells[0] if "config" in benchmark.knobs else "," not in cells[0]
        assert cells[1] == f"`{benchmark.knobs['split']}`"
        assert cells[2] == (f"`{benchmark.knobs['exam']}`" if "exam" in benchmark.knobs else "its exam bucket")
