"""``spiritsafe serve key|usage``: a key is shown once, and usage is a table."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from spiritsafe import cli
from spiritsafe.core.errors import RecipeError, SourceError
from spiritsafe.serve import KeyRing, UsageLedger
from spiritsafe.serve.operation.usage import UsageRow


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.cli, ["serve", *map(str, arguments)])


def test_a_key_is_all_that_stands_on_stdout_and_works(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    done = call("key", "ada", "--keys", file)
    assert done.exit_code == 0, done.output
    assert "never again" in done.stderr
    found = KeyRing(file).find(done.stdout.strip())
    assert found is not None
    assert found.name == "ada"
    again = call("key", "ada", "--keys", file)
    assert isinstance(again.exception, RecipeError)
    assert again.stdout == ""


def test_usage_is_a_table_or_records(tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite"
    ledger = UsageLedger(path)
    for number in range(1200):
        ledger.add(
            UsageRow(
                time="2026-11-29T00:00:00.000Z", request="r", key="[red]ada", endpoint="/", asked="m", model="m",
                digest="", prompt_tokens=1000, completion_tokens=2, status=200, first_token_ms=20.0, total_ms=1.0,
            ) if number else
            UsageRow(
                time="2026-11-28T00:00:00.000Z", request="r", key="ben", endpoint="/", asked="m", model="m",
                digest="", status=429, total_ms=1.0,
            )
        )  # fmt: skip
    ledger.close()
    words = [line.split() for line in call("usage", path).stdout.splitlines()]
    assert words[0][:3] == ["key", "requests", "failed"]
    assert words[1] == ["[red]ada", "1,199", "0", "1,199,000", "0", "2,398", "20", "ms"]
    assert words[2] == ["ben", "1", "1", "0", "0", "0", "–"]
    days = [json.loads(line) for line in call("usage", path, "--by", "day", "--json").stdout.splitlines()]
    assert [(day["name"], day["num_requests"]) for day in days] == [("2026-11-28", 1), ("2026-11-29", 1199)]
    ledger = UsageLedger(path)
    ledger.add(
        UsageRow(
            time="2026-11-29T00:00:00.000Z", request="r", key="ben", endpoint="/", asked="auto", model="m", digest="",
            completion_tokens=3, dropped_tokens=7, status=200, total_ms=1.0,
        )
    )  # fmt: skip
    ledger.close()
    words = [line.split() for line in call("usage", path).stdout.splitlines()]
    assert "dropped" in words[0] + words[1]
    assert [row[5:7] for row in words if row[0] == "ben"] == [["3", "7"]]
    other = tmp_path / "other"
    other.write_text("no ledger")
    assert isinstance(call("usage", other).exception, SourceError)
