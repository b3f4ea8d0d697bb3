"""A whole run by two processes, as its user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from finished_run import SilentWatcher
from safetensors.torch import load_file
from torch.testing import assert_close

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import default_cache
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.run import run as running
from spiritsafe.pipeline.run.run import run_recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.training import Parallel

RECIPE = """
name = "two"
engine = { max_batch = 8, max_context = 256 }

[models.base]
source = "tiny:0"

[data]
lessons = { task = "arith:sums?terms=2&digits=1", problems = 24 }

[defaults.tune]
train = { max_steps = 30, tokens_per_step = 500, micro_batch_tokens = 300, eval_every = 15, learning_rate = 3e-3 }
dev = { problems = 2, sampling = { temperature = 0.0, max_tokens = 6 } }

[[steps]]
kind = "tune"
name = "teacher"
from = "base"
learns = ["lessons"]
train = { compute_dtype = "float32", eps = 1e-3, checkpoint_every_steps = 5 }

[[steps]]
kind = "reinforce"
name = "rl"
from = "teacher"
on = ["lessons"]
lora = { rank = 4 }
probe = { problems = 0 }
config.prompts_per_round = 4
config.group_size = 4
config.num_rounds = 1
config.sampling = { max_tokens = 8 }
config.reward = { kind = "random" }
config.loss = { method = "grpo", kl_weight = 0.1 }
train = { compute_dtype = "float32", eps = 1e-3, micro_batch_tokens = 600 }
"""


def started(recipe: Path, root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*command, "-m", "spiritsafe", "run", str(recipe), "--root", str(root)],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def kill_the_second(launcher: subprocess.Popen[str], root: Path) -> None:
    """As soon as a checkpoint is written."""
    while not list(root.glob("two-*/stages/*-teacher/training/state.pt")):
        assert launcher.poll() is None, launcher.communicate()
        time.sleep(0.02)
    children = psutil.Process(launcher.pid).children()
    (second,) = [child for child in children if child.environ().get("RANK") == "1"]
    second.send_signal(signal.SIGKILL)


def curves(run: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(run.glob("stages/*/curve.json")) for row in json.loads(path.read_text())]


@pytest.mark.slow
def test_two_processes_killed_and_repeated_end_in_the_report_of_one(tmp_path: Path) -> None:
    recipe = tmp_path / "two.toml"
    recipe.write_text(RECIPE)
    broken = started(recipe, tmp_path / "pair")
    kill_the_second(broken, tmp_path / "pair")
    _, said = broken.communicate()
    assert broken.returncode != 0
    assert said.count("the same command") == 1  # by the first process alone
    assert "torchrun has stopped this run" in said or "Another process of this run is gone" in said
    whole = started(recipe, tmp_path / "pair")
    out, said = whole.communicate()
    assert whole.returncode == 0, said
    assert out.count("Report: ") == said.count("nothing stands in the way (done before)") == 1

    loaded, text = load_recipe(str(recipe), ())
    run_recipe(loaded, text, root=tmp_path / "one", cache=default_cache(), watcher=SilentWatcher())
    (pair,), (one,) = ((tmp_path / name).glob("two-*") for name in ("pair", "one"))
    mine, theirs = curves(pair), curves(one)
    assert len(mine) == len(theirs) == 31
    for row, other in zip(mine, theirs, strict=True):
        assert row.get("evaluation") == other.get("evaluation")
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4, abs=1e-5)
    for path in one.glob("stages/*/model/model.safetensors"):
        found, expected = load_file(pair / path.relative_to(one)), load_file(path)
        for name, weight in expected.items():  # thirty updates of sums in another order
            assert_close(found[name], weight, rtol=0.0, atol=2e-5)
    files = [sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()) for run in (pair, one)]
    assert files[0] == files[1]
    reports = [json.loads(next(run.glob("stages/*-report/report.json")).read_text()) for run in (pair, one)]
    assert reports[0].keys() == reports[1].keys()


def test_a_process_that_does_not_see_the_others_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_SEEN_WITHIN_S", 0.0)
    monkeypatch.setattr(Parallel, "on_main", lambda self, work: None)
    monkeypatch.setattr(Parallel, "gather", lambda self, value: [True, value])
    stage = StageDirectory(tmp_path / "stages" / "01-base", {})
    with pytest.raises(CompatibilityError, match=r"Processes \[1\] do not see .*01-base"):
        running._require_seen(stage, Parallel(rank=1, size=2))
    stage.begin()
    stage.finish({})
    running._require_seen(stage, Parallel(rank=1, size=2))
