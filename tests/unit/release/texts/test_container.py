"""Container files: a parser of Dockerfiles and the schema of the Compose specification read them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from spiritsafe.release import Release
from spiritsafe.release.texts.container import COMPOSE_FILE, DOCKERFILE, container_files

KNOWN = {"ARG", "FROM", "COPY", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "COMMENT"}


def test_the_dockerfile_serves_the_file_as_nobody(released: Any, tmp_path: Path) -> None:
    parse = pytest.importorskip("dockerfile_parse", reason="dockerfile-parse is not installed")
    (tmp_path / "Dockerfile").write_text(container_files(released.record)[DOCKERFILE])
    parsed = parse.DockerfileParser(str(tmp_path / "Dockerfile"))
    steps = [(one["instruction"], one["value"]) for one in parsed.structure]
    assert {name for name, _ in steps} <= KNOWN
    assert parsed.baseimage == "ghcr.io/ggml-org/llama.cpp:server"
    said = dict(steps)
    assert said["USER"] == "65532:65532"
    assert json.loads(said["ENTRYPOINT"]) == ["/app/llama-server"]
    _, _, check = said["HEALTHCHECK"].partition("CMD ")
    assert json.loads(check) == ["curl", "-fsS", "http://127.0.0.1:8080/health"]
    copied = [value.split() for name, value in steps if name == "COPY"]
    for words in copied:
        for path in (word for word in words[:-1] if not word.startswith("--")):
            assert (released.directory / path).is_file(), path
    assert copied[1] == ["--chmod=0444", "toy-q8_0.gguf", "/models/model.gguf"]
    assert parsed.envs["LLAMA_ARG_MODEL"] == copied[1][-1]
    assert parsed.envs["LLAMA_ARG_CTX_SIZE"] == "2048"
    assert not [key for key in parsed.envs if "KEY" in key or "TOKEN" in key]
    order = [name for name, _ in steps]
    assert order.index("USER") > max(place for place, name in enumerate(order) if name == "COPY")


def test_the_compose_file_fits_its_schema(released: Any, tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    text = container_files(released.record)[COMPOSE_FILE]
    good, bad = tmp_path / "compose.yaml", tmp_path / "bad.yaml"
    good.write_text(text)
    bad.write_text(text.replace("read_only: true", "read_only: [1]"))
    for path, code in ((good, 0), (bad, 1)):
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
    service = yaml.safe_load(text)["services"]["model"]
    assert service["ports"] == ["127.0.0.1:8080:8080"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["environment"] == ["LLAMA_API_KEY"]  # taken from who starts it, never written down


def test_they_are_in_the_release_and_only_where_there_is_a_file_to_serve(released: Any) -> None:
    for path, text in container_files(released.record).items():
        assert (released.directory / path).read_text("utf-8") == text
    folder = released.record.model_copy(update={"files": released.record.files[2:]})
    assert container_files(folder) == {}


@pytest.mark.parametrize(("name", "version"), [("A..b__C--", "-1.0+cpu"), ("x._.y", ".5"), ("Llama-3.2-toy", "1.0")])
def test_images_are_called_as_docker_calls_them(released: Any, name: str, version: str) -> None:
    """The grammar of https://pkg.go.dev/github.com/distribution/reference: whatever a release may be called fits it."""
    record = Release.from_json({**released.record.to_json(), "name": name, "version": version})
    texts = container_files(record)
    image = yaml.safe_load(texts[COMPOSE_FILE])["services"]["model"]["image"]
    assert re.fullmatch(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*:\w[\w.-]{0,127}", image, re.ASCII), image
    assert f"-t {image.partition(':')[0]} ." in texts[DOCKERFILE]


def test_a_text_that_is_called_as_another_does_not_take_its_place_in_the_image(released: Any) -> None:
    value = released.record.to_json()
    record = Release.from_json({**value, "texts": [*value["texts"], "licences/NOTICE"]})
    copies = [line.split()[1:] for line in container_files(record)[DOCKERFILE].splitlines() if line.startswith("COPY")]
    arrived = [f"{words[-1]}{Path(path).name}" for words in copies for path in words[:-1] if words[-1].endswith("/")]
    assert len(arrived) == len(record.texts) == len(set(arrived))
