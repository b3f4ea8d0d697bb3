"""``spiritsafe sample TASK``: Let any model answer a task's problems."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from spiritsafe import report, rollouts, stats
from spiritsafe.cli.model_options import (
    MODEL_HELP,
    Patience,
    endpoint_options,
    local_model,
    open_any_generator,
    patience_options,
)
from spiritsafe.cli.paths import MODEL, NAMES_FILES, PAGE, GuardedCommand, Kind, OutputFile, OutputFolder, record_kind
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import TerminalSink
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Problem, Sampling
from spiritsafe.models import read_checkpoint
from spiritsafe.tasks import Task, build_task

_MOST = 1_000_000
_CURVE_KINDS = {
    ".html": PAGE,
    ".svg": Kind("a picture of such a curve", lambda data: b"<title>Accuracy against compute" in data[:1000]),
    ".json": record_kind("a curve", lambda: rollouts.ComputeCurve),
}


def _curve_kind(path: Path) -> Kind:
    return _CURVE_KINDS.get(path.suffix, Kind("something that this command writes", lambda _: False))


_Source = tuple[Path | None, str | None, str | None, str | None, Patience]  # what open_any_generator takes


def _parse_caps(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    if not re.fullmatch(r"[1-9]\d{0,6}(,[1-9]\d{0,6})*", text):
        raise click.BadParameter(f"{text!r} is no list of numbers of tokens, such as 64,256.")
    return tuple(int(part) for part in text.split(","))


@click.command(name="sample", cls=GuardedCommand)
@click.argument("task", type=NAMES_FILES)
@click.option("--model", "models", type=MODEL, multiple=True, help=f"{MODEL_HELP} With --curve, several.")
@endpoint_options
@patience_options
@json_option
@click.option("--out", type=OutputFolder(), required=True, help="Directory for the Parquet shards.")
@click.option("--problems", "num_problems", type=click.IntRange(1, _MOST), default=64, show_default=True)
@click.option(
    "--samples",
    "num_samples",
    type=click.IntRange(1, _MOST),
    default=1,
    show_default=True,
    help="Attempts at each problem.",
)
@click.option("--split", type=click.Choice(["train", "dev"]), default="dev", show_default=True)
@click.option("--temperature", default=0.0, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--curve",
    "curves",
    type=OutputFile(_curve_kind),
    multiple=True,
    help="Accuracy against tokens and operations, as .html, .svg or .json; may be given several times.",
)
@click.option(
    "--budgets",
    "caps",
    callback=_parse_caps,
    help="Caps on thinking, in tokens, such as 64,256: accuracy under each, and with Wait put in at the largest; "
    "--max-tokens is then for the answer behind it.",
)
@click.option(
    "--think-end", default="</think>", show_default=True, help='With --budgets: what ends thinking; "" for the turn.'
)
def command(
    task: str,
    models: tuple[str, ...],
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
    curves: tuple[Path, ...],
    caps: tuple[int, ...],
    think_end: str,
    patience: Patience,
    as_json: bool,
) -> None:
    """Let a model answer problems of TASK (train or dev bucket) and grade the answers."""
    sampling = Sampling.from_json({"temperature": temperature, "max_tokens": max_tokens})
    _check_request(models, endpoint, num_samples, temperature, curves)
    if caps and curves:
        raise RecipeError("Both --curve and --budgets were given.", hint="Draw them one after the other.")
    loaded = build_task(task)
    problems = list(loaded.problems("train" if split == "train" else "dev", seed=seed, count=num_problems))
    watcher = TerminalSink()
    if not curves:
        directory = local_model(models[0] if models else None, endpoint, watcher, patience=patience, check=False)
        source = (directory, endpoint, endpoint_model, api_key_env, patience)
        if caps:
            settings = rollouts.budgets(caps, think_end=think_end)
            _sweep(loaded, problems, source, sampling, settings, num_samples, seed, out, as_json)
        else:
            _sample(loaded, problems, source, sampling, num_samples, seed, out, as_json)
        return
    directories = [local_model(model, None, watcher, check=False) for model in models]
    sources: list[_Source] = [(each, None, None, None, Patience() if endpoint else patience) for each in directories]
    if endpoint is not None:
        sources.append((None, endpoint, endpoint_model, api_key_env, patience))
    pools = [_pool(loaded, problems, source, sampling, num_samples, seed, out) for source in sources]
    curve = rollouts.curve_of_pools(pools, task=loaded.name, seed=seed)
    for path in curves:
        report.write_compute(path, curve)
    if as_json:
        print_json([curve])
        return
    click.echo(report.compute_table(curve))
    click.echo()
    for path in curves:
        click.echo(f"curve: {path}")
    click.echo(f"attempts: {out}")


def _open(source: _Source, watcher: TerminalSink) -> Generator:
    directory, endpoint, endpoint_model, api_key_env, patience = source
    return open_any_generator(directory, endpoint, endpoint_model, api_key_env, patience=patience, events=watcher)


def _check_request(
    models: Sequence[str], endpoint: str | None, num_samples: int, temperature: float, curves: Sequence[Path]
) -> None:
    """Refuse what cannot be drawn before anything is sampled.

    Raises:
        RecipeError: The options do not fit together.
    """
    if not curves:
        if len(models) > 1:
            raise RecipeError(
                "Several models were named.", hint="Name one, or add --curve curve.html to compare them on one plot."
            )
        return
    if not models and endpoint is None:
        raise RecipeError("No model was named.", hint="Give --model MODEL, or --endpoint URL.")
    if len(set(models)) < len(models):
        raise RecipeError("A model was named twice.", hint="Give each --model once.")
    if num_samples < 2 or temperature <= 0.0:
        raise RecipeError(
            f"A curve needs several different attempts, not {num_samples} at temperature {temperature:g}.",
            hint="Add --samples 16 --temperature 1, for instance.",
        )
    for path in curves:
        if path.suffix not in report.CURVE_SUFFIXES:
            raise RecipeError(
                f"{path} has no ending that says what to draw.", hint=f"Use one of {', '.join(report.CURVE_SUFFIXES)}."
            )


def _sample(
    task: Task,
    problems: Sequence[Problem],
    source: _Source,
    sampling: Sampling,
    num_samples: int,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """One collection, and what became of it."""
    watcher = TerminalSink()
    generator = _open(source, watcher)
    watcher.begin("sample")
    try:
        report = rollouts.collect(
            task, problems, generator, sampling, num_samples=num_samples, seed=seed, directory=out, events=watcher
        )
    finally:
        generator.close()
        watcher.end()
    accuracy = stats.clopper_pearson_interval(report.num_correct, report.num_attempts) if num_samples == 1 else None
    if as_json:
        print_json([{**report.to_json(), "accuracy": accuracy, "directory": out}])
        return
    click.echo(
        f"{report.num_attempts} attempts at {report.num_problems} problems: {report.num_correct} correct, "
        f"{report.num_wrong} wrong, {report.num_unparsed} unparsed, {report.num_unscored} unscored "
        f"({report.num_truncated} truncated, {report.num_errors} errors)"
    )
    if accuracy is not None:
        click.echo(f"accuracy {_share(accuracy)}")
    click.echo(f"attempts: {out}")


def _sweep(
    task: Task,
    problems: Sequence[Problem],
    source: _Source,
    sampling: Sampling,
    settings: Sequence[rollouts.BudgetForcing],
    num_samples: int,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """One collection under each budget, and what thinking longer was worth."""
    watcher = TerminalSink()
    generator = _open(source, watcher)
    watcher.begin("sample")
    try:
        sweep = rollouts.sweep_budgets(
            task, problems, generator, sampling, settings,
            answer_tokens=sampling.max_tokens, num_samples=num_samples, seed=seed, directory=out, events=watcher,
        )  # fmt: skip
    finally:
        generator.close()
        watcher.end()
    if as_json:
        print_json([{**sweep.to_json(), "directory": out}])
        return
    for point in sweep.points:
        click.echo(
            f"thinking ≤ {point.budget.cap}, {point.budget.num_waits} × Wait: accuracy {_share(point.accuracy)}, "
            f"{point.num_tokens:.1f} tokens an attempt, {point.control:.0%} kept to it, {point.forced:.0%} ended by it"
        )
    if sweep.slope is not None:
        slope = sweep.slope
        click.echo(
            f"1,000 tokens more: {100 * slope.value:+.1f} points [{100 * slope.low:+.1f}, {100 * slope.high:+.1f}]"
        )
    click.echo(f"attempts: {out}")


def _share(estimate: stats.Estimate) -> str:
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"


def _pool(
    task: Task, problems: Sequence[Problem], source: _Source, sampling: Sampling, num_samples: int, seed: int, out: Path
) -> rollouts.Pool:
    """One model's pool, in a directory named by what the model is, so that models never share one."""
    # Only local weights say how many parameters they have.
    num_parameters = None if source[0] is None else read_checkpoint(source[0]).num_parameters
    watcher = TerminalSink()
    generator = _open(source, watcher)
    watcher.begin("load")
    try:
        info = generator.describe()
        watcher.begin(f"sample {info.name}")
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", info.name).strip("-.")[:60]
        return rollouts.draw_pool(
            task,
            problems,
            generator,
            sampling,
            num_samples=num_samples,
            seed=seed,
            directory=out / f"{slug}-{info.digest.removeprefix('sha256:')[:8]}",
            num_parameters=num_parameters,
            events=watcher,
        )
    finally:
        generator.close()
        watcher.end()
