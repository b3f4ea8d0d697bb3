"""Make the files of this folder again with the real packages; see README.md beside it. Not run by the tests.

VENV/bin/python make_foreign.py inspect    # inspect-ai: sums-a.json, sums-a.eval, sums-b.json, halted.json, epochs.json
VENV/bin/python make_foreign.py lm-eval    # lm-eval[api]: folders lm-eval-a, lm-eval-b
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QUESTIONS = [("2 + 3", 5), ("4 + 4", 8), ("9 + 1", 10), ("7 + 6", 13), ("8 + 8", 16), ("5 + 9", 14), ("6 + 6", 12)]
REPLIES = {
    # right, right, wrong, no answer, refused, cut off, (the solver breaks)
    "a": ["ANSWER: 5", "ANSWER: 8", "ANSWER: 11", "I would rather not say.", "I cannot help.", "Let me think", "-"],
    # right, wrong, wrong, right, right, right, right
    "b": ["ANSWER: 5", "ANSWER: 9", "ANSWER: 11", "ANSWER: 13", "ANSWER: 16", "ANSWER: 14", "ANSWER: 12"],
}
STOPS = {"a": ["stop", "stop", "stop", "stop", "content_filter", "max_tokens", "stop"], "b": ["stop"] * 7}


def scrub(log: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is of this machine, and the events of the samples: nine tenths of the bytes."""
    log["eval"] |= {"task_file": "make_foreign.py", "model_args": {}, "revision": None}
    for part in (log, *log["samples"]):
        if part.get("error"):
            part["error"] |= {"traceback": "left out", "traceback_ansi": "left out"}
    for sample in log["samples"]:
        sample |= {"events": [], "events_data": None}
    return log


def make_inspect() -> None:
    from inspect_ai import Task, eval, task
    from inspect_ai.dataset import Sample
    from inspect_ai.log import convert_eval_logs
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import pattern
    from inspect_ai.solver import Generate, TaskState, generate, solver

    def outputs(name: str, count: int = 7) -> list[Any]:
        made = []
        for text, stop in list(zip(REPLIES[name], STOPS[name], strict=True))[:count]:
            output = ModelOutput.from_content("mockllm/model", text, stop_reason=stop)
            output.usage = ModelUsage(
                input_tokens=9, output_tokens=4, total_tokens=13
            )  # else it wants tiktoken's files
            made.append(output)
        return made

    @solver
    def breaks(number: int, message: str) -> Any:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            if state.sample_id == number:
                raise RuntimeError(message)
            return state

        return solve

    @task
    def sums(broken: int = 0, count: int = 7) -> Task:
        samples = [
            Sample(id=i, input=f"What is {text}?", target=str(answer))
            for i, (text, answer) in enumerate(QUESTIONS[:count], start=1)
        ]
        return Task(
            dataset=samples, solver=[breaks(broken, "the tool fell over"), generate()],
            scorer=pattern(r"ANSWER: (-?\d+)"),
        )  # fmt: skip

    def run(name: str, the_task: Task, replies: list[Any], target: str, kind: str = "json", **options: Any) -> None:
        with tempfile.TemporaryDirectory() as directory:
            (log,) = eval(
                the_task, model=get_model("mockllm/model", custom_outputs=replies), model_roles=None, log_dir=directory,
                log_format=kind, display="none", max_samples=1, max_tokens=64, temperature=0.0, **options,
            )  # fmt: skip
            path = HERE / target
            path.write_text(
                json.dumps(scrub(json.loads(Path(log.location.removeprefix("file://")).read_text("utf-8"))))
            )
            if target == "sums-a.json":
                convert_eval_logs(str(path), to="eval", output_dir=f"{directory}/out")
                shutil.copy(next(Path(directory, "out").glob("*.eval")), HERE / "sums-a.eval")

    run("a", sums(broken=7), outputs("a"), "sums-a.json", fail_on_error=False)
    run("b", sums(), outputs("b"), "sums-b.json")
    run("a", sums(broken=3), outputs("a"), "halted.json", fail_on_error=True)
    run("b", sums(count=2), outputs("a", 2) + outputs("b", 2), "epochs.json", epochs=2)


class _Endpoint(BaseHTTPRequestHandler):
    """Answers by the name of the model."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"]
        (number,) = (i for i, (text, _) in enumerate(QUESTIONS) if text in question)
        choice = {"index": 0, "finish_reason": "stop"}
        choice |= {"message": {"role": "assistant", "content": REPLIES[body["model"]][number]}}
        data = json.dumps({"object": "chat.completion", "model": body["model"], "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def make_lm_eval() -> None:
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("a", "b"):
        with tempfile.TemporaryDirectory() as directory:
            data = Path(directory, "sums.jsonl")
            rows = ({"question": f"What is {text}?", "answer": str(answer)} for text, answer in QUESTIONS)
            data.write_text("".join(json.dumps(row) + "\n" for row in rows))
            task = {
                "task": "sums", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}},
                "test_split": "test", "output_type": "generate_until", "doc_to_text": "{{question}}",
                "doc_to_target": "{{answer}}", "generation_kwargs": {"until": ["\n"], "max_gen_toks": 64},
                "filter_list": [
                    {"name": "strict", "filter": [{"function": "regex", "regex_pattern": r"ANSWER: (-?\d+)"},
                                                  {"function": "take_first"}]},
                    {"name": "loose", "filter": [{"function": "regex", "regex_pattern": r"(-?\d+)"},
                                                 {"function": "take_first"}]},
                ],
                "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
                "metadata": {"version": 1},
            }  # fmt: skip
            tracker = EvaluationTracker(output_path=directory)
            url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
            found = simple_evaluate(
                model="local-chat-completions", model_args={"model": name, "base_url": url, "num_concurrent": 1},
                tasks=[task], apply_chat_template=True, evaluation_tracker=tracker, log_samples=True,
            )  # fmt: skip
            samples = found.pop("samples")
            found.pop("pretty_env_info", None)  # this machine's
            tracker.save_results_aggregated(results=found, samples=samples)
            tracker.save_results_samples(task_name="sums", samples=samples["sums"])
            target = HERE / f"lm-eval-{name}"
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for file in Path(directory).rglob("*_20*"):
                text = file.read_text("utf-8").replace(directory, "/data")
                (target / file.name).write_text(text, "utf-8")


if __name__ == "__main__":
    {"inspect": make_inspect, "lm-eval": make_lm_eval}[sys.argv[1]]()
