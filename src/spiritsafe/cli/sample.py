"""``spiritsafe sample TASK``."""

from __future__ import annotations

from pathlib import Path

import click

from spiritsafe.cli.generators import generator_options, open_any_generator
from spiritsafe.cli.progress import TerminalSink
from spiritsafe.core.records import Sampling
from spiritsafe.core.stats import clopper_pearson_interval
from spiritsafe.rollouts import collect
from spiritsafe.tasks import load_task

__all__ = ["command"]


@click.command(name="sample")
@click.argument("task")
@generator_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory for the Parquet shards.")
@click.option("--problems", "num_problems", default=64, show_default=True)
@click.option("--samples", "num_samples", default=1, show_default=True, help="Attempts at each problem.")
@click.option("--split", type=click.Choice(["train", "dev"]), default="dev", show_default=True)
@click.option("--temperature", default=0.0, show_default=True)
@click.option("--max-tokens", default=256, show_default=True)
@click.option("--seed", default=0, show_default=True)
def command(
    task: str,
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    out: Path,
    num_problems: int,
    num_samples: int,
    split: str,
    temperature: float,
    max_tokens: int,
    seed: int,
) -> None:
    """Let a model answer problems of TASK (train or dev bucket) and grade the answers."""
    loaded = load_task(task)
    problems = list(loaded.problems("train" if split == "train" else "dev", seed=seed, count=num_problems))
    watcher = TerminalSink()
    generator = open_any_generator(model, endpoint, endpoint_model, api_key_env)
    watcher.begin("sample")
    try:
        report = collect(
            loaded,
            problems,
            generator,
            Sampling(temperature=temperature, max_tokens=max_tokens),
            num_samples=num_samples,
            seed=seed,
            directory=out,
            events=watcher,
        )
    finally:
        generator.close()
        watcher.end()
    click.echo(
        f"{report.num_attempts} attempts at {report.num_problems} problems: {report.num_correct} correct, "
        f"{report.num_wrong} wrong, {report.num_unparsed} unparsed, {report.num_unscored} unscored "
        f"({report.num_truncated} truncated, {report.num_errors} errors)"
    )
    if num_samples == 1:
        estimate = clopper_pearson_interval(report.num_correct, report.num_attempts)
        click.echo(f"accuracy {estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]")
    click.echo(f"attempts: {out}")
