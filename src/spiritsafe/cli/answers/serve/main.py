"""``spiritsafe serve key|usage``: keys of those who ask, and what they used."""

from __future__ import annotations

from pathlib import Path

import click

from spiritsafe import serve
from spiritsafe.cli.paths import EXISTING, LEDGER, GuardedCommand
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import print_note, print_result


@click.command(cls=GuardedCommand, name="key")
@click.argument("name")
@click.option("--keys", "file", type=LEDGER, required=True, help="The keys file; made if missing.")
def serve_key(name: str, file: Path) -> None:
    """Make a key for NAME, print it once, and append its SHA-256 to the keys file.

    Limits are lines below its table in that file: requests_per_minute, tokens_per_minute, tokens_per_day,
    concurrent_requests, models. A running server reads the file again when it changes.
    """
    text = serve.make_key(name, file)
    print_note(f"This is the key of {name}. It is shown now and never again; {file} holds its SHA-256 alone.")
    print_result(text)


@click.command(cls=GuardedCommand, name="usage")
@click.argument("file", type=EXISTING)
@click.option("--by", "group", type=click.Choice(["key", "model", "day"]), default="key", show_default=True)
@json_option
def serve_usage(file: Path, group: serve.UsageGroup, as_json: bool) -> None:
    """Show what was used, by the usage ledger FILE that `--usage` had written."""
    totals = serve.usage_totals(file, group)
    if as_json:
        print_json(totals)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    has_dropped = any(one.dropped_tokens for one in totals)  # only cascades drop any
    table.add_column(group)
    dropped = ("dropped",) if has_dropped else ()
    for head in ("requests", "failed", "prompt tokens", "cached", "answer tokens", *dropped, "first token"):
        table.add_column(head, justify="right")
    for one in totals:
        first = "–" if one.first_token_ms is None else f"{one.first_token_ms:,.0f} ms"
        counts = [one.num_requests, one.num_failed, one.prompt_tokens, one.cached_tokens, one.completion_tokens]
        counts += [one.dropped_tokens] if has_dropped else []
        table.add_row(one.name, *(f"{count:,}" for count in counts), first)
    Console(highlight=False, markup=False).print(table)
