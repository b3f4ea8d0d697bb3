from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline import packaged_recipes, recipe_text


def test_each_packaged_recipe_is_of_its_name_and_says_what_it_is_for() -> None:
    found = packaged_recipes()
    assert {"tiny", "quickstart"} <= set(found)
    for name, summary in found.items():
        assert summary
        assert tomllib.loads(recipe_text(name))["name"] == name


def test_a_path_ends_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("# mine\n")
    assert recipe_text(str(path)) == "# mine\n"
    for name in ("nosuch", "../recipe/load", str(tmp_path / "none.toml"), str(tmp_path), "\0.toml"):
        with pytest.raises(RecipeError, match="There is no recipe") as caught:
            recipe_text(name)
        assert "tiny" in caught.value.hint


def test_a_file_that_is_no_text_or_has_no_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "large.toml").write_bytes(b"#" * (2 << 20))
    for name in ("bytes.toml", "large.toml"):
        with pytest.raises(RecipeError):
            recipe_text(str(tmp_path / name))


def test_listing_loads_nothing_heavy() -> None:
    program = (
        "import sys; from spiritsafe.pipeline import packaged_recipes; packaged_recipes();"
        "assert not {'torch', 'transformers', 'pydantic'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
