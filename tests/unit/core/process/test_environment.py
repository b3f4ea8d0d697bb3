"""What children see of the environment, at every place that starts one."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

import spiritsafe
from spiritsafe.core.process.children.child_process import ChildProcess
from spiritsafe.core.process.environment import child_environment

SOURCE = Path(spiritsafe.__file__).parent
OUR_OWN = {  # these run a program that is itself given keys or a network by its user: the exam's commands, and pip;
    # or a sandbox, which sees nothing of the environment
    "tasks/sandbox/lasting_thread.py",
    "tasks/sandbox/attacks/table.py",  # a process that attacks look for
    "core/process/own_command.py",
    "models/sources/download.py",
}


def test_what_a_process_needs_passes_and_what_opens_doors_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        monkeypatch.delenv(name)
    needed = {
        *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "HF_HUB_OFFLINE", "HF_HOME"),
        *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF"),
        *("CC", "CXX", "CPATH", "LIBRARY_PATH", "HUGGINGFACE_HUB_CACHE", "NIX_LD", "GPU_DEVICE_ORDINAL"),
        *("TOKENIZERS_PARALLELISM", "SPIRITSAFE_CACHE", "XDG_CACHE_HOME", "NCCL_DEBUG", "TRITON_CACHE_DIR"),
    }  # fmt: skip
    refused = {
        *("MYKEY", "HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "NVIDIA_API_KEY", "SPIRITSAFE_KEY"),
        *("Torch_key", "HTTPS_PROXY", "http_proxy", "SSH_AUTH_SOCK", "GITHUB_TOKEN", "CUDA_TOKEN", "X"),
    }  # fmt: skip
    for name in needed | refused:
        monkeypatch.setenv(name, "1")
    found = child_environment(OMP_NUM_THREADS="2", EXTRA="3")
    assert found == {**dict.fromkeys(needed, "1"), "OMP_NUM_THREADS": "2", "EXTRA": "3"}


def test_every_place_that_starts_a_process_uses_it() -> None:
    """A new one must either use it, or be put on the list above with its reason."""
    starting = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called not in ("subprocess.Popen", "subprocess.run", "subprocess.check_output", "ChildProcess"):
                continue
            name = path.relative_to(SOURCE).as_posix()
            starting.add(name)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            by_default = "child_environment" if called == "ChildProcess" else ""
            assert name in OUR_OWN or given.get("env", by_default).split("(")[0] in (
                "child_environment",
                "grader_environment",
            ), name
    assert starting >= OUR_OWN | {
        *("core/process/children/child_process.py", "rollouts/generators/pipe.py"),
        *("core/process/children/pool.py", "tasks/grading/keeper.py"),
    }
    text = "".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    assert "os.system(" not in text
    assert "os.posix_spawn" not in text
    assert "from subprocess import" not in text


def test_a_child_sees_it_unless_it_is_given_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "secret")
    code = "import os; print(os.environ.get('MY_TOKEN'))"
    for env, seen in ((None, b"None\n"), ({**os.environ}, b"secret\n")):
        child = ChildProcess([sys.executable, "-c", code], env=env)
        assert child.receive(20) == seen
        child.stop(5)
