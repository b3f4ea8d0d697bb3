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
        assert ("(gated)" in cells[0]) == benchmark.published.gated


def test_the_table_says_what_is_held_to_what() -> None:
    """Rows to study and of the exam as they are on record, and a digest where there is one."""
    for name, benchmark in BENCHMARKS.items():
        (row,) = (line for line in PAGE.read_text("utf-8").splitlines() if line.startswith(f"| `{name}` |"))
        rows, held = (row.split("|")[place].strip() for place in (6, 7))
        config, known = benchmark.knobs.get("config", ""), benchmark.published.files
        of_config = {file: one for file, one in known.items() if file.startswith(config)}
        splits = [benchmark.knobs[one] for one in ("split", "exam") if one in benchmark.knobs]
        files = [next((one for file, one in of_config.items() if split in file), None) for split in splits]
        files = [one or next(iter(of_config.values())) for one in files]
        assert rows == "; ".join(f"{one.rows:,}" for one in files), name
        assert ("digest" in held) == any(one.sha256 for one in files), name
        assert ("commit, rows" in held) == any(not one.sha256 for one in files), name
