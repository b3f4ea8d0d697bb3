from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from compute_parts import example_curve, lonely_curve
from page_checker import PageChecker

from spiritsafe.core.errors import RecipeError
from spiritsafe.report import CURVE_SUFFIXES, build_compute_page, build_compute_svg, compute_section, write_compute
from spiritsafe.rollouts.test_time.records import ComputeCurve

CURVE = example_curve()


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    page = build_compute_page(CURVE)
    checker = PageChecker(page)
    assert checker.problems == []
    assert not {"script", "img", "iframe"} & set(checker.tags)
    assert not re.search(r"https?:|@import|url\(", page)
    assert checker.tags.count("h1") == 1
    assert "default-src &#x27;none&#x27;" in page


def test_the_section_has_both_charts_findings_and_tables() -> None:
    checker = PageChecker(compute_section(CURVE))
    assert checker.problems == []
    assert checker.tags.count("figure") == 2
    assert checker.tags.count("svg") == 6
    text = checker.text
    assert "Every point comes from this one pool" in text
    assert "taught-135M − base-135M" in text
    assert "against one sample" in text
    assert "endpoint: The number of parameters is not known" in text
    rows = sum(len(model.lines) for model in CURVE.models)
    assert checker.tags.count("tr") == 2 + rows + len(CURVE.differences)
    # a report may hold several
    both = compute_section(CURVE) + compute_section(CURVE, anchor="second")
    assert PageChecker(both).problems == []


def test_without_sizes_and_rivals_there_is_one_chart_and_one_table() -> None:
    checker = PageChecker(compute_section(lonely_curve()))
    assert checker.problems == []
    assert checker.tags.count("figure") == 1
    assert checker.tags.count("table") == 1


def test_the_picture_is_whole_without_a_style_sheet() -> None:
    picture = build_compute_svg(CURVE)
    root = ET.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in picture
    style = root.find("{http://www.w3.org/2000/svg}style")
    assert style is not None
    assert style.text is not None
    used = {name for element in root.iter() for name in element.get("class", "").split()}
    ruled = set(re.findall(r"\.([\w-]+)", re.sub(r"\{[^}]*\}", "", style.text)))
    assert used - ruled <= {"w-majority"}  # which is as every line is
    assert float(root.get("height", "0")) > 900
    lonely = ET.fromstring(build_compute_svg(lonely_curve()))
    assert float(lonely.get("height", "0")) < 600


def test_hostile_names_change_no_structure() -> None:
    attack = "</style><script>x</script>\u202e\"'&"
    renamed = CURVE.model_copy(
        update={
            "task": attack,
            "models": tuple(m.model_copy(update={"name": f"{attack}{i}"}) for i, m in enumerate(CURVE.models)),
        }
    )
    checker = PageChecker(build_compute_page(renamed))
    assert checker.problems == []
    assert "script" not in checker.tags
    assert ET.fromstring(build_compute_svg(renamed)).tag.endswith("svg")


def test_the_ending_says_what_is_written(tmp_path: Path) -> None:
    for suffix in CURVE_SUFFIXES:
        write_compute(tmp_path / f"curve{suffix}", CURVE)
    assert (tmp_path / "curve.html").read_text("utf-8") == build_compute_page(CURVE)
    assert (tmp_path / "curve.svg").read_text("utf-8") == build_compute_svg(CURVE)
    assert ComputeCurve.from_json(json.loads((tmp_path / "curve.json").read_text("utf-8"))) == CURVE
    with pytest.raises(RecipeError, match=r"curve\.png"):
        write_compute(tmp_path / "curve.png", CURVE)
