"""What is said of a name that does not exist."""

from __future__ import annotations

import pytest

from pipeline.mistakes import did_you_mean, nearest


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        pytest.param("strat", ["start", "end"], "did you mean start?", id="letters swapped"),
        pytest.param("aa", ["UA", "AA", "DL"], "did you mean AA?", id="another case"),
        pytest.param("zebra", ["start", "end"], "there are start, end", id="nothing near"),
        pytest.param("zebra", [], "there are start, end", id="nothing at all"),
    ],
)
def test_the_nearest_name_or_what_there_is(name: str, known: list[str], said: str) -> None:
    assert did_you_mean(name, known, "there are start, end") == said


def test_the_lead_comes_only_with_a_guess() -> None:
    assert did_you_mean("ende", ["end"], lead="; ") == "; did you mean end?"
    assert did_you_mean("zebra", ["end"], lead="; ") == ""


def test_how_much_alike_it_has_to_be_can_be_asked() -> None:
    assert nearest("database", ["databank_url"]) == "databank_url"
    assert nearest("database", ["databank_url"], alike=0.9) is None
