"""Parts of routers: collections of made-up rungs, evidence drawn at random, and routers that decide simply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.files.digests import digest_model
from spiritsafe.core.records import Checkpoint, Message, Sampling
from spiritsafe.rollouts import FakeGenerator, collect
from spiritsafe.serve.routing.evidence import CONFIDENCE, RouteEvidence
from spiritsafe.serve.routing.features import MARKERS, NUM_FEATURES, features_of
from spiritsafe.serve.routing.logistic import Chance
from spiritsafe.serve.routing.records import Ceiling, Familiar, RoutedRung, RoutePoint, Router, RouterKind
from spiritsafe.serve.routing.scores import ChanceScores
from spiritsafe.serve.routing.system import place_of, write_routed
from spiritsafe.stats import Estimate
from spiritsafe.tasks import load_task

TASK = "arith:sums?terms=2-3&digits=1-2"
SMALL, LARGE = "sha256:" + "11" * 32, "sha256:" + "22" * 32


def asked(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def collections(
    folder: Path,
    *,
    split: str = "dev",
    num: int = 120,
    seed: int = 5,
    num_samples: int = 1,
    digests: Sequence[str] = (),
    is_easy: Callable[[str], bool] = lambda text: len(text) % 2 > 0,
) -> list[Path]:
    """Attempts of a rung that is right at what is easy, and of one that always is.

    Args:
        digests: Of the models that are said to have drawn them; made up when left out.
        is_easy: By a problem's canonical text; prompts say little of its length when left out.
    """
    task = load_task(TASK)
    problems = {one.id: one for one in task.problems("dev" if split == "dev" else "train", seed=seed, count=num)}

    def small(problem_id: str, sample: int) -> str:
        problem = problems[problem_id]
        return task.gold(problem) if is_easy(problem.canonical_text) else "I do not know."

    folders = []
    for name, answer in (("small", small), ("large", lambda problem_id, _: task.gold(problems[problem_id]))):
        generator = FakeGenerator(answer, name=name)
        if digests:
            generator._info = generator._info.model_copy(update={"digest": digests[len(folders)]})
        sampling = Sampling(temperature=0.0, max_tokens=200)
        collect(
            task, problems.values(), generator, sampling,
            num_samples=num_samples, seed=seed, directory=folder / name,
        )  # fmt: skip
        folders.append(folder / name)
    return folders


def evidence(
    num: int = 240, *, seed: int = 0, says: float = 1.0, num_samples: int = 1, small: float = 0.5, large: float = 0.9
) -> RouteEvidence:
    """A small rung that is right with chance ``small`` on average, more where prompts are short; and a large one.

    Args:
        says: How much prompts and confidence tell; 0: nothing.
    """
    rng = np.random.default_rng(seed)
    hard = rng.random(num) < 0.5
    prompts = ["What is " + " + ".join(["12"] * (9 if one else 2)) + f"? ({rng.integers(100)})" for one in hard]
    spread = says * min(small, 1 - small)
    truth = np.array([np.where(hard, small - spread, small + spread), np.full(num, large)])
    right = (rng.random((2, num, num_samples)) < truth[..., None]).astype(float)
    if not says:
        prompts = [f"What is {rng.integers(100)} + {rng.integers(100)}?" for _ in hard]
    confidence = rng.normal(size=(*right.shape, len(CONFIDENCE)))
    confidence[..., 0] += says * 3.0 * right
    return RouteEvidence(
        task=TASK,
        cost="bytes",
        names=("small", "large"),
        digests=(SMALL, LARGE),
        samplings=(Sampling(temperature=0.0),) * 2,
        collections=(SMALL, LARGE),
        problems=tuple(f"p{number}" for number in range(num)),
        features_PX=np.array([features_of(asked(prompt)) for prompt in prompts]),
        right_RPS=right,
        costs_RPS=np.broadcast_to(np.array([1.0, 10.0])[:, None, None], right.shape).copy(),
        confidence_RPSC=confidence,
    )


def estimate(value: float = 0.5) -> Estimate:
    return Estimate(value=value, low=0.0, high=1.0, confidence=0.95, n=9, method="made up")


def simple_router(
    kind: RouterKind = "prompt", *, threshold: float | None = 0.8, digests: Sequence[str] = (SMALL, LARGE)
) -> Router:
    """By prompt: the small rung for prompts of fewer than some fifty characters. Cascade: for a mean log-probability
    above -1. Nothing but a text without any grams is strange to it."""
    if kind != "cascade":
        length = np.zeros(NUM_FEATURES)
        length[MARKERS.index("log characters")] = -10.0
        small = Chance(weights=tuple(length.tolist()), intercept=39.0, slope=1.0, offset=0.0, ridge=1.0)
        sure = Chance(weights=(0.0,) * NUM_FEATURES, intercept=9.0, slope=1.0, offset=0.0, ridge=1.0)
        chances: tuple[Chance, ...] = (small, sure)
    else:
        chances = (Chance(weights=(9.0, 0.0, 0.0, 0.0), intercept=9.0, slope=1.0, offset=0.0, ridge=1.0),)
    scores = ChanceScores(
        brier=0.1, log_loss=0.1, constant_brier=0.2, constant_log_loss=0.2, brier_gain=estimate(),
        log_loss_gain=estimate(), auc=0.9, says_something=True, bins=(),
    )  # fmt: skip
    point = RoutePoint(
        threshold=threshold, accuracy=estimate(), cost=estimate(), answered=(0.5, 0.5), gain=estimate(),
    )  # fmt: skip
    return Router(
        kind=kind, task=TASK, cost="bytes", num_problems=9, num_samples=1,
        rungs=tuple(
            RoutedRung(
                name=name, digest=digest, sampling=Sampling(), attempts=digest, accuracy=estimate(), cost=estimate()
            )
            for name, digest in zip(("small", "large"), digests, strict=True)
        ),
        chances=chances, scores=(scores,) * len(chances),
        familiar=Familiar(centre=(0.0,) * (NUM_FEATURES - len(MARKERS)), least=0.0),
        threshold=threshold, chosen_for="a test", curve=(point,),
        ceiling=Ceiling(accuracy=estimate(), cost=estimate()), is_better=True, seed=0, data=SMALL,
    )  # fmt: skip


def made_up_model(folder: Path, name: str) -> tuple[Path, Checkpoint]:
    """A directory that has a digest and a lineage, as a model has; its digest is that of its one file."""
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_text(name, "utf-8")
    checkpoint = Checkpoint(
        name=f"run-{name}", digest=digest_model(folder), license="MIT", num_parameters=len(name), weight_bytes=10
    )
    write_json(folder / "lineage.json", checkpoint.to_json())
    return folder, checkpoint


def routed_directory(root: Path, kind: RouterKind = "prompt", *, given: Path | None = None) -> Path:
    """A routed system inside ``root`` over two made-up models there.

    Args:
        given: Where the large one lies instead.
    """
    target = root / "stages" / "03-routed" / "model"
    small, large = (
        made_up_model(given if given and name == "large" else root / "stages" / f"0{number}-{name}" / "model", name)
        for number, name in enumerate(("small", "large"), 1)
    )
    target.mkdir(parents=True)
    write_routed(
        target,
        simple_router(kind, threshold=1.0 if kind == "best" else 0.8, digests=(small[1].digest, large[1].digest)),
        {model.digest: place_of(place, target, root) for place, model in (small, large)},
        [small[1], large[1]],
        name="run-routed",
        parents=(),
        recipe="sha256:" + "0" * 64,
    )
    return target
