"""What services say for whoever types, as the console says it to whoever clicks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.console import pages
from pipeline.console.phrases import PLACES, coded
from pipeline.services.answers import advice, wording


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        (
            "`pipeline rerun 0198-a` makes what is missing, with --newest-definition if it changed",
            '<a href="/runs/0198-a#rerun">Rerun</a> makes what is missing, as the schedule says today if it changed',
        ),
        (
            "`pipeline deliveries shipments@2026-11-16 --status uncertain` lists it",
            '<a href="/runs/shipments@2026-11-16/deliveries?status=uncertain">Deliveries</a> lists it',
        ),
        ("`pipeline up` starts <one>", "<code>pipeline up</code> starts &lt;one&gt;"),
        ("`pipeline runs a/b?c` lists", '<a href="/runs?schedule=a%2Fb%3Fc">Runs</a> lists'),
    ],
)
def test_a_command_is_a_link_to_what_does_the_same_here(sentence, said):
    assert coded(sentence) == said


def test_what_to_do_next_names_no_command_for_what_the_console_does():
    """Left are those for whoever is at the machine."""
    source = re.sub(r"\{[^}]+\}", "x", Path(advice.__file__).read_text())
    commands = {coded(f"`{found}`") for found in re.findall(r"`(pipeline [^`]+)`", source)}
    assert len(commands) > 10
    assert {one.striptags() for one in commands if "<a" not in one} == {
        "pipeline up", "pipeline doctor", "pipeline pools",
    }  # fmt: skip


def test_each_link_leads_to_something_on_its_page():
    templates = "".join(one.read_text() for one in (pages.HERE / "templates").iterdir())
    missing = {to for *_, to in PLACES if "#" in to and f'id="{to.partition("#")[2]}"' not in templates}
    assert not missing


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ("there is no run", "There is no run."),
        ('no schedule "pricse": did you mean prices?', 'No schedule "pricse": did you mean prices?'),
        ("night_totals is paused", "night_totals is paused."),
    ],
)
def test_a_refusal_is_a_sentence_of_its_own_and_a_name_stays_as_it_is(refusal, said):
    assert wording.sentence(refusal) == said
