"""The e-mail around a document says what the document says, in the recipient's language, safely."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.adapters.documents import Enclosure, Envelope, FileLink, message_facts, render, render_message_parts
from pipeline.errors import DefinitionError, PermanentError
from tests.document_stories import AT, content, days, extended, report, templates

ANNA = {"name": "Anna", "email": "anna@example.com"}


def parts_of(about, folder, recipient, attachments=(), **words):
    return render_message_parts([Enclosure(about, attachments)], folder, recipient, Envelope(**words))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return templates(tmp_path_factory.mktemp("base"))


def test_it_names_the_report_its_figures_and_what_is_attached(base):
    whole = content(report=report(summary="{{ rows_count }} days"))
    parts = parts_of(whole, base, ANNA, ["flights.pdf", "flights.xlsx"], sender="Team <team@example.com>")
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
    html = parts_of(content(), base, ANNA, []).html
    assert "<style" not in html
    assert 'style="margin: 0' in html
    assert "<img" not in html
    assert "http" not in html


def test_a_split_report_says_whose_it_is(base):
    whole = content(key="UA", report=report(split_by="carrier"))
    parts = parts_of(whole, base, {}, [])
    assert parts.subject.startswith("Flights of the week \N{EN DASH} UA, ")
    assert parts.text.startswith("Hello,\n")
    assert "Carrier UA" in parts.text
    assert "Nothing is attached." in parts.text


def test_every_recipient_reads_their_own_language(base):
    german = parts_of(content(), base, {**ANNA, "locale": "de_DE"}, ["a.pdf"])
    assert german.text.startswith("Guten Tag Anna,")
    assert german.subject.startswith("Flights of the week, 16.\N{EN DASH}22. Nov. 2026")
    assert '<html lang="de-DE"' in german.html
    english = parts_of(content(), base, ANNA, ["a.pdf"])
    assert english.text.startswith("Hello Anna,")


def test_words_are_filled_in_and_nothing_in_them_is_markup_or_filled_in_again(tmp_path):
    line = '{{ "to {name}, {about}"|fill(name=name, about=title) }}'
    folder = templates(tmp_path, body_html=f"<p>{line}</p>", body_txt=line)
    parts = parts_of(content(), folder, {"name": "<b>{about}</b>"}, [])
    assert parts.text == "to <b>{about}</b>, Flights of the week\n"
    assert "to &lt;b&gt;{about}&lt;/b&gt;, Flights of the week" in parts.html
    for number, wrong in enumerate(["nobody", "name!r", "name:>9"]):
        folder = templates(tmp_path / str(number), body_txt=f'{{{{ "to {{{wrong}}}"|fill(name=name) }}}}')
        with pytest.raises(DefinitionError, match=wrong):
            parts_of(content(), folder, ANNA, [])


def test_a_language_without_words_of_its_own_gets_english_words(base):
    assert parts_of(content(), base, {"locale": "pl"}, []).text.startswith("Hello,")


def test_the_facts_of_a_document_are_enough_and_small(base):
    whole = content(
        report=report(summary="A quiet week"), extra={"late": 3, "rows_of_others": [object()]}, params={"floor": 5}
    )
    facts = json.loads(json.dumps(message_facts(whole, base)))
    assert len(json.dumps(facts)) < 2_000
    assert facts["extra"] == {"late": 3}
    assert parts_of(facts, base, ANNA, ["a.pdf"]) == parts_of(whole, base, ANNA, ["a.pdf"])


def test_a_subject_of_its_own_is_one_line_whatever_it_is_given(base):
    whole = content(key="UA\r\nBcc: everybody@example.com", report=report(split_by="carrier"))
    parts = parts_of(whole, base, {"name": "Anna\nX: y"}, [], subject="For {{ name }}: {{ key }}")
    assert parts.subject == "For Anna X: y: UA Bcc: everybody@example.com"
    assert "\n" not in parts_of(whole, base, {}, []).subject


def test_names_of_people_are_text_in_html_and_themselves_in_plain_text(base):
    parts = parts_of(content(), base, {"name": "<b>O'Neil & Söhne</b>"}, [])
    assert "Hello <b>O'Neil & Söhne</b>," in parts.text
    assert "&lt;b&gt;" in parts.html
    assert "<b>O" not in parts.html


def test_templates_of_the_report_win_over_the_base(tmp_path):
    folder = templates(
        tmp_path,
        subject_txt="{{ late|number }} late\n",
        body_html='{% extends "_base/body.html" %}{% block footer %}<p class="about">Bye {{ name }}</p>{% endblock %}',
    )
    parts = parts_of(content(extra={"late": 1234}), folder, ANNA, [])
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
        parts_of(content(), templates(tmp_path, **files), ANNA, [], subject=subject)


def test_a_stylesheet_that_would_be_fetched_is_not(tmp_path):
    (tmp_path / "secret.css").write_text("p { color: #abcdef }")
    link = f'<html><head><link rel="stylesheet" href="{tmp_path}/secret.css"></head><body><p>x</p></body></html>'
    assert "#abcdef" not in parts_of(content(), templates(tmp_path, body_html=link), ANNA, []).html


def test_the_time_of_a_message_is_the_recipients(tmp_path):
    folder = templates(tmp_path, subject_txt="{{ generated_at|datetime }}")
    whole = content(generated_at=datetime(2026, 7, 1, 22, 30, tzinfo=UTC))
    subject = parts_of(whole, folder, {"zone": "America/New_York"}, []).subject
    assert " ".join(subject.split()) == "Jul 1, 2026, 6:30 PM"


def test_a_document_template_does_not_reach_into_the_message(tmp_path):
    folder = templates(tmp_path, document_html=extended(summary="{{ nothing }}"))
    assert parts_of(content(), folder, ANNA, []).subject
    with pytest.raises(DefinitionError):
        render(content(), "html", folder)


# ---- links, unsubscribing, several documents


UNSUBSCRIBE = "https://reports.example.com/u/t0k3n"


def test_files_that_are_too_large_are_links_that_end(base):
    link = FileLink("flights.pdf", "https://reports.example.com/d/t0k3n", 12_345_678)
    enclosed = [Enclosure(content(), links=[link])]
    for recipient, said, ends in (
        (ANNA, "To download: flights.pdf (12.3\xa0MB)", "The links work until December 23, 2026."),
        (
            {"locale": "de_DE"},
            "Zum Herunterladen: flights.pdf (12,3\xa0MB)",
            "Die Links gelten bis 23. Dezember 2026.",
        ),
    ):
        parts = render_message_parts(enclosed, base, recipient, Envelope(links_end=AT + timedelta(days=30)))
        assert f"{said}\nhttps://reports.example.com/d/t0k3n\n" in parts.text
        assert ends in parts.text
        assert ends in parts.html
        assert '<a href="https://reports.example.com/d/t0k3n"' in parts.html
        assert "attached" not in parts.text.lower()


def test_a_small_file_may_be_a_link_too_and_has_a_size(base):
    """`link_above: 0` makes every file a link."""
    enclosed = [Enclosure(content(), links=[FileLink("a.csv", "https://reports.example.com/d/t0k3n", 12_345)])]
    parts = render_message_parts(enclosed, base, ANNA, Envelope(links_end=AT + timedelta(days=30)))
    assert "To download: a.csv (12\xa0kB)\n" in parts.text


def test_whoever_may_unsubscribe_is_told_where(base):
    parts = parts_of(content(), base, {"locale": "fr"}, ["a.pdf"], unsubscribe_url=UNSUBSCRIBE)
    assert f"Se désabonner: {UNSUBSCRIBE}" in parts.text
    assert f'<a href="{UNSUBSCRIBE}"' in parts.html
    without = parts_of(content(), base, ANNA, ["a.pdf"])
    assert "nsubscribe" not in without.text + without.html


def test_a_combined_message_has_every_document_under_its_key(base):
    split = report(split_by="carrier", summary="{{ rows_count }} days")
    several = [
        Enclosure(content(key=key, report=split, rows=days(count)), [f"{key}.pdf"])
        for key, count in (("DL", 3), ("UA", 10))
    ]
    parts = render_message_parts(several, base, ANNA, Envelope(missing=["AA", "HA"]))
    assert parts.subject.startswith("Flights of the week \N{EN DASH} DL, UA, Nov 16")
    text = parts.text.replace("\xa0", " ")
    places = [
        text.index(one) for one in ("Carrier DL", "3 days", "DL.pdf", "Carrier UA", "10 days", "UA.pdf", "AA, HA")
    ]
    assert places == sorted(places)
    assert "Not included, since they could not be made: AA, HA." in parts.html
    assert parts.html.count("<h2") == 2
    assert "\n\n\n\n" not in parts.text


def test_a_subject_names_few_keys_and_counts_many(base):
    split = report(split_by="carrier")
    several = [Enclosure(content(key=f"K{number}", report=split)) for number in range(12)]
    line = render_message_parts(several, base, ANNA, Envelope(subject="For {{ key }}")).subject
    assert line == "For K0, K1, K2, … (12)"


def test_what_build_returned_belongs_to_one_document_and_is_no_name_of_a_combined_message(tmp_path):
    folder = templates(tmp_path, subject_txt="{{ documents|map(attribute='extra.late')|sum }}{% if late %}!{% endif %}")
    several = [Enclosure(content(extra={"late": late})) for late in (3, 4)]
    with pytest.raises(PermanentError, match="'late' is undefined"):
        render_message_parts(several, folder, ANNA, Envelope())
    assert render_message_parts(several[:1], folder, ANNA, Envelope()).subject == "3!"


# ---- images

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def html_with(tmp_path, image, **files):
    page = f"<html><body>{image}</body></html>"
    return parts_of(content(), templates(tmp_path, body_html=page, **files), ANNA)


def test_images_of_the_template_folder_travel_in_the_message(tmp_path):
    data = f"data:image/png;base64,{base64.b64encode(PNG + b'2').decode()}"
    images = f'<img src="logo.png" alt="Logo"><p><IMG alt=x src=\'logo.png\'><img src="{data}">'
    parts = html_with(tmp_path, images, logo_png=PNG)
    ids = re.findall(r'src="cid:([^"]+)"', parts.html)
    assert len(ids) == 3
    assert ids[0] == ids[1] != ids[2]
    assert "data:" not in parts.html
    assert 'alt="Logo"' in parts.html
    assert len(parts.images) == 2
    assert f"Content-ID: <{ids[0]}>\r\n".encode() in parts.images[0].part
    assert base64.b64encode(PNG)[:60] in parts.images[0].part
    assert b'filename="logo.png"' in parts.images[0].part
    assert parts.images == html_with(tmp_path, images, logo_png=PNG).images


def test_an_image_on_the_web_stays_there(tmp_path):
    parts = html_with(tmp_path, '<img src="https://example.com/a.png?x=1&amp;y=2">')
    assert 'src="https://example.com/a.png?x=1&amp;y=2"' in parts.html
    assert parts.images == ()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ('<img src="lgo.png">', r'^templates/flights/body.html: an image cannot be shown: "lgo.png" is missing'),
        ('<img src="../../../etc/passwd">', "an image cannot be shown"),
        ('<img src="file:///etc/passwd">', "an image cannot be shown"),
        ('<img src="ftp://example.com/a.png">', "an image cannot be shown"),
        ('<img src="mark.svg">', r'"mark.svg" is image/svg\+xml, which mail programs do not show: use PNG'),
    ],
)
def test_an_image_that_nobody_would_see_fails_the_message(tmp_path, image, reason):
    with pytest.raises(PermanentError, match=reason):
        html_with(tmp_path, image, mark_svg="<svg xmlns='http://www.w3.org/2000/svg'/>")
