from __future__ import annotations

import pytest
from page_checker import PageChecker

from spiritsafe.report.html.tables import Column, nothing, stacked, table

COLUMNS = [Column(title="Model"), Column(title="Score", numeric=True), Column(title="Why", wide=True)]


def test_cells_carry_their_columns_title_and_roles() -> None:
    made = table(COLUMNS, [["<m>", stacked("54.5 %", "48–62 %"), nothing("not measured")]], caption="The <caption>")
    page = PageChecker(made)
    assert page.problems == []
    assert [value for _, key, value in page.attributes if key == "data-label"] == ["Model", "Score", "Why"]
    roles = [value for _, key, value in page.attributes if key == "role"]
    assert roles.count("columnheader") == 3
    assert roles.count("rowheader") == 1
    assert roles.count("cell") == 2
    assert "The <caption>" in page.text
    assert "54.5 % 48–62 %" in page.text
    assert "&lt;m&gt;" in made


def test_a_row_with_a_missing_cell_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        table(COLUMNS, [["m", "1"]], caption="c")


def test_narrow_forms() -> None:
    assert 'class="table same"' in table(COLUMNS, [], caption="c", narrow="same")
    assert 'class="table cards"' in table(COLUMNS, [], caption="c")
    assert nothing(None) == '<span class="none">–</span>'
