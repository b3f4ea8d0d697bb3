from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.core.errors import SourceError
from spiritsafe.models.sources.spec import card_license, model_folder, repository_of, tiny_of


def test_the_parts_of_a_spec() -> None:
    assert tiny_of("3?hidden=64&layers=3") == ("tiny-3-layers3-hidden64", 3, {"hidden_size": 64, "num_layers": 3})
    assert repository_of("org/name") == ("org/name", None)
    assert repository_of("org/name@v2") == ("org/name", "v2")
    with pytest.raises(SourceError, match="no repository"):
        repository_of("name")


def test_a_folder_may_be_in_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_folder("~/model") == (tmp_path / "model").resolve()


@pytest.mark.parametrize(
    ("card", "license"),
    [
        ("---\nlicense: apache-2.0\n---\n", "Apache-2.0"),
        ("---\nlicense: 'llama3.2'\ntags: []\n---\n", "LicenseRef-llama3.2"),
        ("---\nlicense: other\nlicense_name: qwen-research\n---\n", "LicenseRef-qwen-research"),
        ("---\nlicense: mit\nlicense_name: ours\n---\n", "MIT"),
        ("---\nlicense: other\n---\n", "LicenseRef-other"),
        ("---\nlicense:\n- gemma\n---\n", "LicenseRef-gemma"),
        (
            "---\nlicense:\n  - apache-2.0\n  - 'llama3.1'  # its weights\ntags:\n- x\n---\n",
            "Apache-2.0 AND LicenseRef-llama3.1",
        ),
        ("---\nlicense: [mit, llama3.1]\nlanguage: [en]\n---\n", "MIT AND LicenseRef-llama3.1"),
        ("---\nlicense: [\n  mit,\n  other\n]\nlicense_name: qwen\n---\n", "MIT AND LicenseRef-qwen"),
        ("---\nlicense: mit AND llama3.1\n---\n", "LicenseRef-mit-AND-llama3.1"),  # never MIT alone
        (
            "---\nlicense: other\nlicense_name: MIT with a ban on students\n---\n",
            "LicenseRef-MIT-with-a-ban-on-students",
        ),
        ("---\nlicense: mit # as of May\n---\n", "MIT"),
        ("---\nlicense:\nlanguage:\n- en\n---\n", "LicenseRef-unknown"),
        ("# no front matter\nlicense: mit\n", "LicenseRef-unknown"),
        (None, "LicenseRef-unknown"),
    ],
)
def test_the_licence_stands_in_the_front_matter(card: str | None, license: str, tmp_path: Path) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert card_license(tmp_path) == license
