"""A release in three fresh environments: transformers alone, llama.cpp alone, this package's light install.

    python bench/release_strangers.py RELEASE --out bench/results/release-strangers-cpu.json

The first loads the directory, the second its F16 file, each with its own tokenizer and its own rendering of the chat
template, and both answer the same questions greedily. The third verifies, and names one byte that was flipped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from machine import describe_machine

QUESTIONS = (
    "What is 17 + 25?", "What is 8 + 49 - 3?", "Name three colours.", "Wie heißt die Hauptstadt von Frankreich?",
    "Write one sentence about the sea.", "What comes after Monday?", "2 + 2 = ?", "Say hello in Japanese: こんにちは",
)  # fmt: skip
NUM_TOKENS = 32

TRANSFORMERS = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
place, questions, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(place)
model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
answers = []
for question in questions:
    messages = [{"role": "user", "content": question}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**ids, max_new_tokens=count, do_sample=False)
    answers.append(tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True))
print(json.dumps(answers))
"""

LLAMA_CPP = """
import json, sys, urllib.request
import xllamacpp
file, questions, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
params = xllamacpp.CommonParams()
params.model.path = file
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.n_parallel, params.n_ctx, params.port = 1, 1024, 0
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(params)
answers = []
for question in questions:
    asked = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": count}
    request = urllib.request.Request(server.listening_address + "/v1/chat/completions",
        data=json.dumps(asked).encode(), headers={"Content-Type": "application/json"})
    answers.append(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])
print(json.dumps(answers), flush=True)
"""


def fresh(folder: Path, *packages: str) -> Path:
    venv.create(folder, with_pip=True)
    subprocess.run([str(folder / "bin" / "pip"), "install", "-q", *packages], check=True)
    return folder / "bin"


def answers(python: Path, program: str, place: Path) -> list[str]:
    command = [str(python / "python"), "-c", program, str(place), json.dumps(QUESTIONS), str(NUM_TOKENS)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [str(text) for text in json.loads(done.stdout.strip().splitlines()[-1])]


def verified(bin_folder: Path, place: Path) -> tuple[int, str]:
    command = [str(bin_folder / "spiritsafe"), "release", "verify", str(place)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def flipped(bin_folder: Path, release: Path, folder: Path) -> dict[str, bool]:
    """Whether each file of the release is named when the byte in its middle is another one."""
    named = {}
    copy = folder / "flipped"
    shutil.copytree(release, copy)
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        before = path.read_bytes()
        path.write_bytes(bytes(data))
        code, said = verified(bin_folder, copy)
        path.write_bytes(before)
        named[path.relative_to(copy).as_posix()] = code != 0 and path.relative_to(copy).as_posix() in said
    return named


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("release", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    release: Path = options.release.resolve()
    (file,) = release.glob("*-F16.gguf")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        theirs = answers(fresh(folder / "transformers", "transformers>=5", "torch>=2.10"), TRANSFORMERS, release)
        llama = answers(fresh(folder / "llama", "xllamacpp>=2026.10"), LLAMA_CPP, file)
        light = fresh(folder / "light", str(Path(__file__).parents[1]))
        code, said = verified(light, release)
        named = flipped(light, release, folder)
    same = [one.strip() == other.strip() for one, other in zip(theirs, llama, strict=True)]
    result: dict[str, Any] = {
        "machine": describe_machine("transformers"),
        "questions": len(QUESTIONS),
        "most_tokens": NUM_TOKENS,
        "same_greedy_text": sum(same),
        "answers": [{"transformers": one, "llama.cpp": other} for one, other in zip(theirs, llama, strict=True)],
        "light_install_verifies": code == 0,
        "steps": said.count(" ok "),
        "files": len(named),
        "files_named_with_one_byte_flipped": sum(named.values()),
        "not_named": [path for path, found in named.items() if not found],
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    sys.stdout.write(text + "\n")
    if options.out:
        options.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
