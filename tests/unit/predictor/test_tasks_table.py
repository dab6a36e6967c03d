"""The table of built-in tasks."""

import re
from pathlib import Path

import pytest

from moorage.api.predictor import BUILT_IN_TASKS
from moorage_predictor.storage.fetcher import PATTERNS
from moorage_predictor.tasks import table


def test_the_table_has_a_row_for_each_word_of_the_settings() -> None:
    assert table.words() == BUILT_IN_TASKS


@pytest.mark.parametrize("word", BUILT_IN_TASKS)
def test_what_a_row_names_exists(word: str) -> None:
    assert callable(table.of(word).loader())
    assert callable(table.of(word).model())


def test_every_ending_that_the_page_of_tables_promises_is_fetched() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "tabular.md").read_text()
    (promised,) = re.findall(r"a file is fetched if it ends in (.+?), or is `MLmodel`", page, re.DOTALL)
    fetched = {*PATTERNS, *table.of("tabular").files}
    assert {f"*{ending}" for ending in re.findall(r"`(\.\w+)`", promised)} | {"MLmodel"} == fetched
