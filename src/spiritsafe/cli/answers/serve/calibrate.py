"""``spiritsafe serve calibrate``: a router for the model ``auto``, from graded dev attempts of several rungs."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from spiritsafe import serve, stats
from spiritsafe.cli.paths import FOLDER, GuardedCommand, OutputFile, record_kind
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import print_note
from spiritsafe.core.errors import CompatibilityError, RecipeError

_MANIFEST = "manifest.json"
_MEASURED = "stages/*/attempts/*/*/samples"


@click.command(cls=GuardedCommand, name="calibrate")
@click.argument("attempts", nargs=-1, required=True, metavar="RUN_OR_ATTEMPTS...", type=FOLDER)
@click.option(
    "--out", type=OutputFile(record_kind("a router", lambda: serve.Router)), required=True, help="router.json"
)
@click.option(
    "--max-loss", type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True), default=None,
    help="Most accuracy to lose against always asking the largest rung; 0.01 when left out.",
)  # fmt: skip
@click.option("--max-cost", type=click.FloatRange(min=0.0), default=None, help="Mean cost to stay below instead.")
@click.option("--cascade", is_flag=True, help="Ask the smallest rung first, and the next where it is not sure.")
@click.option(
    "--cost", type=click.Choice(["seconds", "tokens", "bytes"]), default="seconds", show_default=True,
    help="What an answer costs: as measured; bytes x tokens drawn; the rung's bytes.",
)  # fmt: skip
@click.option("--bytes", "sizes", multiple=True, type=click.IntRange(min=1), help="Of each rung, in their order.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@json_option
def serve_calibrate(
    attempts: tuple[Path, ...],
    out: Path,
    max_loss: float | None,
    max_cost: float | None,
    cascade: bool,
    cost: str,
    sizes: tuple[int, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Calibrate the model "auto": which rung is the smallest that is expected to be right.

    Each argument is a folder of attempts at dev problems (`spiritsafe sample --split dev --out`), one a rung; or one
    run whose step `measure` drew them for several models.
    """
    if max_loss is not None and max_cost is not None:
        raise RecipeError("Both --max-loss and --max-cost were given.", hint="Give the one that matters to you.")
    if sizes and cost == "seconds":
        raise RecipeError("--bytes was given, and the cost is in seconds.", hint="Add --cost tokens or --cost bytes.")
    found = _collections(attempts)
    evidence = serve.read_evidence(
        [directory for _, directory in found],
        cost=cast("serve.RouteCost", cost),
        sizes=sizes,
        names=[name for name, _ in found],
    )
    router = serve.calibrate_router(
        evidence,
        kind="cascade" if cascade else "prompt",
        max_loss=0.01 if max_loss is None else max_loss,
        max_cost=max_cost,
        seed=seed,
    )
    serve.write_router(out, router)
    if as_json:
        summary = router.to_json()
        for part in ("chances", "familiar", "curve"):
            del summary[part]
        print_json([{**summary, "rule": router.point.to_json(), "router": str(out)}])
        return
    for line in _lines(router):
        click.echo(line)
    print_note(f"router: {out}")


def _collections(paths: tuple[Path, ...]) -> list[tuple[str, Path]]:
    """Names of rungs and where their attempts are."""
    if len(paths) > 1 or (paths[0] / _MANIFEST).exists():
        return [(path.resolve().name, path) for path in paths]
    sets: dict[tuple[str, str], list[tuple[str, Path]]] = {}
    for path in sorted(paths[0].glob(_MEASURED)):
        if (path / _MANIFEST).exists():
            sets.setdefault((path.parents[3].name, path.parent.name), []).append((path.parents[1].name, path))
    measured = {name: rungs for name, rungs in sets.items() if len(rungs) > 1}
    if len(measured) != 1:
        words = "; ".join(f"{stage}: {name}" for stage, name in measured) or "none"
        raise CompatibilityError(
            f"{paths[0]} should hold one measured set of problems with attempts of several models; it has: {words}.",
            hint="Name the folders of attempts themselves, one a rung.",
        )
    return next(iter(measured.values()))


def _lines(router: serve.Router) -> list[str]:
    unit = {"seconds": "s", "tokens": "byte-tokens", "bytes": "bytes"}[router.cost]
    lines = [f"{router.task}: {router.num_problems} dev problems"]
    for place, rung in enumerate(router.rungs):
        line = f"  {rung.name}: accuracy {_share(rung.accuracy)}, {rung.cost.value:.4g} {unit}"
        if place < len(router.scores):
            scores = router.scores[place]
            line += f"; Brier {scores.brier:.3f}, of a constant {scores.constant_brier:.3f}"
            line += "" if scores.auc is None else f", AUC {scores.auc:.3f}"
            line += "" if scores.says_something else ": no better than a constant"
        lines.append(line)
    point = router.point
    who = ", ".join(f"{rung.name} {share:.0%}" for rung, share in zip(router.rungs, point.answered, strict=True))
    if router.threshold is None:
        lines.append(f"No cheaper rule could be shown to keep: {router.chosen_for}. The largest rung is always asked;")
        lines.append("more problems, or a larger --max-loss, may show one.")
    else:
        lines.append(f"threshold {router.threshold:g}, chosen for: {router.chosen_for}")
    lines.append(f"  accuracy {_share(point.accuracy)}, {point.cost.value:.4g} {unit}; answers come from: {who}")
    lines.append(
        f"  over tossing a coin between single rungs at this cost: {100 * point.gain.value:+.1f} points "
        f"[{100 * point.gain.low:+.1f}, {100 * point.gain.high:+.1f}]"
    )
    lines.append(
        f"  who knows which will be right: {_share(router.ceiling.accuracy)}, {router.ceiling.cost.value:.4g} {unit}"
    )
    if not router.is_better:
        lines.append("This router is not shown to be better than a coin: serve one rung by its name instead.")
    return lines


def _share(estimate: stats.Estimate) -> str:
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"
