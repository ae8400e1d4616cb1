"""The e-mail around a document says what the document says, in the recipient's language, safely."""

import json
from datetime import UTC, datetime

import pytest

from pipeline.adapters.documents import message_facts, render, render_message_parts
from pipeline.errors import DefinitionError, PermanentError
from tests.document_stories import content, days, extended, report, templates

ANNA = {"name": "Anna", "email": "anna@example.com"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return templates(tmp_path_factory.mktemp("base"))


def test_it_names_the_report_its_figures_and_what_is_attached(base):
    whole = content(report=report(summary="{{ rows_count }} days"))
    parts = render_message_parts(whole, base, ANNA, ["flights.pdf", "flights.xlsx"], sender="Team <team@example.com>")
    assert parts.subject.replace("\u2009", " ") == "Flights of the week, Nov 16 \N{EN DASH} 22, 2026"
    for shown in (
        "Hello Anna,",
        "10 days",
        f"Flights: {sum(row.flights for row in days()):,}",
        "flights.pdf, flights.xlsx",
    ):
        assert shown in parts.text, shown
    assert parts.text.isprintable() is False
    assert "\n\n\n\n" not in parts.text
    for shown in ("Hello Anna,", "10 days", "flights.pdf, flights.xlsx", "Team &lt;team@example.com&gt;"):
        assert shown in parts.html, shown


def test_styles_stand_in_the_tags_and_nothing_is_loaded(base):
    html = render_message_parts(content(), base, ANNA, []).html
    assert "<style" not in html
    assert 'style="margin: 0' in html
    assert "<img" not in html
    assert "http" not in html


def test_a_split_report_says_whose_it_is(base):
    whole = content(key="UA", report=report(split_by="carrier"))
    parts = render_message_parts(whole, base, {}, [])
    assert parts.subject.startswith("Flights of the week \N{EN DASH} UA, ")
    assert parts.text.startswith("Hello,\n")
    assert "Carrier UA" in parts.text
    assert "Nothing is attached." in parts.text


def test_every_recipient_reads_their_own_language(base):
    german = render_message_parts(content(), base, {**ANNA, "locale": "de_DE"}, ["a.pdf"])
    assert german.text.startswith("Guten Tag Anna,")
    assert german.subject.startswith("Flights of the week, 16.\N{EN DASH}22. Nov. 2026")
    assert '<html lang="de-DE"' in german.html
    english = render_message_parts(content(), base, ANNA, ["a.pdf"])
    assert english.text.startswith("Hello Anna,")


def test_a_language_without_words_of_its_own_gets_english_words(base):
    assert render_message_parts(content(), base, {"locale": "pl"}, []).text.startswith("Hello,")


def test_the_facts_of_a_document_are_enough_and_small(base):
    whole = content(
        report=report(summary="A quiet week"), extra={"late": 3, "rows_of_others": [object()]}, params={"floor": 5}
    )
    facts = json.loads(json.dumps(message_facts(whole, base)))
    assert len(json.dumps(facts)) < 2_000
    assert facts["extra"] == {"late": 3}
    assert render_message_parts(facts, base, ANNA, ["a.pdf"]) == render_message_parts(whole, base, ANNA, ["a.pdf"])


def test_a_subject_of_its_own_is_one_line_whatever_it_is_given(base):
    whole = content(key="UA\r\nBcc: everybody@example.com", report=report(split_by="carrier"))
    parts = render_message_parts(whole, base, {"name": "Anna\nX: y"}, [], subject="For {{ name }}: {{ key }}")
    assert parts.subject == "For Anna X: y: UA Bcc: everybody@example.com"
    assert "\n" not in render_message_parts(whole, base, {}, []).subject


def test_names_of_people_are_text_in_html_and_themselves_in_plain_text(base):
    parts = render_message_parts(content(), base, {"name": "<b>O'Neil & Söhne</b>"}, [])
    assert "Hello <b>O'Neil & Söhne</b>," in parts.text
    assert "&lt;b&gt;" in parts.html
    assert "<b>O" not in parts.html


def test_templates_of_the_report_win_over_the_base(tmp_path):
    folder = templates(
        tmp_path,
        subject_txt="{{ late|number }} late\n",
        body_html='{% extends "_base/body.html" %}{% block footer %}<p class="about">Bye {{ name }}</p>{% endblock %}',
    )
    parts = render_message_parts(content(extra={"late": 1234}), folder, ANNA, [])
    assert parts.subject == "1,234 late"
    assert '<p class="about" style="margin: 0 0 14px;color: #4a5563;">Bye Anna</p>' in parts.html
    assert "Hello Anna" in parts.html


@pytest.mark.parametrize(
    ("files", "subject", "sentence"),
    [
        (
            {"subject_txt": "{{ titel }}"},
            None,
            r"^templates/flights/subject.txt:1: 'titel' is undefined: did you mean title",
        ),
        ({"body_txt": "{{ nme }}"}, None, r"^templates/flights/body.txt:1: 'nme' is undefined: did you mean name"),
        ({}, "{{ kee }}", r"^message.subject of flights: 'kee' is undefined: did you mean key"),
        ({}, "{{ summary }}", "the subject of flights is empty"),
        ({"subject_txt": " \n"}, None, "the subject of flights is empty: see templates/flights/subject.txt"),
    ],
)
def test_a_mistake_in_a_message_is_told_with_its_place(tmp_path, files, subject, sentence):
    with pytest.raises(PermanentError, match=sentence):
        render_message_parts(content(), templates(tmp_path, **files), ANNA, [], subject=subject)


def test_a_stylesheet_that_would_be_fetched_is_not(tmp_path):
    (tmp_path / "secret.css").write_text("p { color: #abcdef }")
    link = f'<html><head><link rel="stylesheet" href="{tmp_path}/secret.css"></head><body><p>x</p></body></html>'
    assert "#abcdef" not in render_message_parts(content(), templates(tmp_path, body_html=link), ANNA, []).html


def test_the_time_of_a_message_is_the_recipients(tmp_path):
    folder = templates(tmp_path, subject_txt="{{ generated_at|datetime }}")
    whole = content(generated_at=datetime(2026, 7, 1, 22, 30, tzinfo=UTC))
    subject = render_message_parts(whole, folder, {"zone": "America/New_York"}, []).subject
    assert " ".join(subject.split()) == "Jul 1, 2026, 6:30 PM"


def test_a_document_template_does_not_reach_into_the_message(tmp_path):
    folder = templates(tmp_path, document_html=extended(summary="{{ nothing }}"))
    assert render_message_parts(content(), folder, ANNA, []).subject
    with pytest.raises(DefinitionError):
        render(content(), "html", folder)
