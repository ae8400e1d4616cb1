"""A document that would have a hole in it is no document: what is missing, refused or undefined fails it, by name."""

import zipfile
from base64 import b64encode

import pytest

from pipeline.adapters.documents import render
from pipeline.adapters.documents.bundles import bundle
from pipeline.errors import DefinitionError, PermanentError
from tests.document_stories import content, extended, report, templates, text_of

SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
NOSY = SQUARE.replace("<rect", '<image width="9" height="9" href="file:///etc/passwd"/><rect')
LAYOUTS = ["pdf", "html"]


def in_body(html):
    return {"document_html": extended(summary=html, figures="", chart="", table="")}


def in_sheet(css):
    return {"document_css": css}


def encoded(svg):
    return "data:image/svg+xml;base64," + b64encode(svg.encode()).decode()


# What a template may ask for, and the words with which it is refused, in a PDF and in an HTML page alike.
LEAKS = {
    "a missing image": (in_body('<img alt="x" src="logo.png">'), '"logo.png" is missing'),
    "an image over http": (in_body('<img alt="x" src="http://127.0.0.1:9/x">'), '"http://127.0.0.1:9/x" is refused'),
    "an image over https": (in_body('<img alt="x" src="https://127.0.0.1:9/x.png">'), "is refused"),
    "an image without a scheme": (in_body('<img alt="x" src="//127.0.0.1:9/x.png">'), "is refused"),
    "a file of the machine": (in_body('<img alt="x" src="file:///etc/passwd">'), '"file:///etc/passwd" is refused'),
    "an image over ftp": (in_body('<img alt="x" src="ftp://127.0.0.1/x.png">'), "is refused"),
    "a way up": (in_body('<img alt="x" src="../../../../etc/passwd">'), '"etc/passwd" is missing'),
    "an encoded way up": (in_body('<img alt="x" src="..%2f..%2f..%2f..%2fetc%2fpasswd">'), "is missing"),
    "another base": (in_body('<base href="http://127.0.0.1:9/"><img alt="x" src="x.png">'), "is missing|is refused"),
    "an image with no address": (in_body('<img alt="x" src="">'), "would show nothing"),
    "an image with no attribute": (in_body('<img alt="x">'), "would show nothing"),
    "a stylesheet elsewhere": (in_body('<link rel="stylesheet" href="http://127.0.0.1:9/x.css">'), "is refused"),
    "a missing stylesheet": (in_body('<link rel="stylesheet" href="more.css">'), '"more.css" is missing'),
    "an import over http": (in_sheet('@import "http://127.0.0.1:9/x.css";'), "is refused"),
    "a missing import": (in_sheet('@import url("colours.css");'), '"colours.css" is missing'),
    "a background elsewhere": (in_sheet("body { background: url(http://127.0.0.1:9/x.png) }"), "is refused"),
    "a missing background": (in_sheet("body { background: url('paper.png') }"), '"paper.png" is missing'),
    "a missing font": (in_sheet("@font-face { font-family: Ours; src: url(ours.woff2) }"), '"ours.woff2" is missing'),
    "a style attribute": (in_body('<p style="background: url(file:///etc/passwd)">x</p>'), "is refused"),
    "a style element": (in_body("<style>p { background: url(file:///etc/passwd) }</style>"), "is refused"),
    "an image in an svg": (
        in_body('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><title>x</title>'
                '<image width="9" height="9" href="http://127.0.0.1:9/x.png"/></svg>'),
        "is refused",
    ),
    "a part of another svg": (
        in_body('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><title>x</title>'
                '<use href="http://127.0.0.1:9/x.svg#part"/></svg>'),
        "would show nothing",
    ),
    "an object": (in_body('<object data="http://127.0.0.1:9/x.svg"></object>'), "is refused"),
    "an embedded file": (in_body('<embed src="file:///etc/passwd">'), "is refused"),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("leak", LEAKS)
def test_what_is_not_in_the_bundle_fails_the_document(tmp_path, leak, layout):
    files, sentence = LEAKS[leak]
    folder = templates(tmp_path, **files)
    with pytest.raises(DefinitionError, match=sentence) as caught:
        render(content(rows=[]), layout, folder)
    assert str(caught.value).startswith("templates/flights/document.")


def test_a_failure_that_is_remembered_is_no_hole_the_second_time(tmp_path):
    folder = templates(tmp_path, **in_body('<img alt="x" src="logo.png">'))
    for _ in range(3):
        with pytest.raises(DefinitionError, match=r'"logo\.png" is missing'):
            render(content(rows=[]), "pdf", folder)


# What only WeasyPrint asks for, or only it gets wrong.
HOLES = {
    "an attachment elsewhere": (in_body('<link rel="attachment" href="file:///etc/passwd">'), "is refused"),
    "an image that is none": (
        {"logo_png": b"not a picture", **in_body('<img alt="x" src="logo.png">')},
        "document.html: Failed to load image at 'logo.png' .cannot identify image file"
    ),
    "a broken data: address": (in_body('<img alt="x" src="data:nothing">'), "is not a data: address"),
    "a font that is none": (
        {"ours_ttf": b"no font", **in_sheet("@font-face { font-family: Ours; src: url(ours.ttf) }")},
        "Font-face 'Ours' cannot be loaded",
    ),
    "a font of the machine that is not there": (
        in_sheet("@font-face { font-family: Ours; src: local('No Such Font') }"), "Font-face 'Ours' cannot be loaded"
    ),
    "an svg that asks elsewhere": (
        in_body(f'<img alt="x" src="{encoded(NOSY)}">'),
        "is refused",
    ),
    "an image that nobody can hear": (
        {"logo_svg": SQUARE, **in_body('<img src="logo.svg">')}, 'has no required alt description: add alt="…"'
    ),
}  # fmt: skip


@pytest.mark.parametrize("hole", HOLES)
def test_what_weasyprint_would_only_log_fails_the_document(tmp_path, hole):
    files, sentence = HOLES[hole]
    with pytest.raises(DefinitionError, match=sentence):
        render(content(rows=[]), "pdf", templates(tmp_path, **files))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_in_the_bundle_is_shown(tmp_path, layout):
    files = {
        "logo_svg": SQUARE,
        "more_css": "p { color: #123456 }",
        "document_css": '@import "_base/document.css"; @import "more.css"; .b { background: url(logo.svg) }',
        "document_html": extended(
            summary=f'<p class="b"><img alt="x" src="logo.svg"><img alt="y" src="{encoded(SQUARE)}"></p>'
        ),
    }
    document = render(content(), layout, templates(tmp_path, **files))
    if layout == "html":
        page = document.data.decode()
        assert page.count("data:image/svg+xml") >= 3
        assert "bundle.invalid" not in page
        assert "#123456" in page


# Templates that cannot be filled in, and where and why.
MISTAKES = {
    "an undefined name": ("{{ laet }}", r"templates/flights/document.html:1: 'laet' is undefined: did you mean late\?"),
    "a name nothing like any": ("{{ xyzzy }}", "'xyzzy' is undefined; there is "),
    "an undefined attribute": ("{{ period.ende }}", "has no attribute 'ende'"),
    "a column that is not there": ("{{ rows[0].flihgts }}", "no attribute 'flihgts'"),
    "a division by zero": ("{{ 1 / 0 }}", "document.html:1: ZeroDivisionError"),
    "a syntax error": ("{% if %}", "document.html:1: is not a template: Expected an expression"),
    "an unknown filter": ("{{ 1|euro }}", "No filter named 'euro'"),
    "a template elsewhere": ('{% include "shared/logo.html" %}', '"shared/logo.html" is not in the bundle'),
    "a way out of the sandbox": ("{{ ''.__class__.__mro__ }}", "unsafe|forbids"),
    "a change of the data": ("{{ late.append(4) }}", "the sandbox forbids it"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_template_that_cannot_be_filled_in_says_where_and_why(tmp_path, mistake):
    source, sentence = MISTAKES[mistake]
    folder = templates(tmp_path, document_html=extended(summary=source))
    with pytest.raises(DefinitionError, match=sentence) as caught:
        render(content(extra={"late": [1, 2]}), "pdf", folder)
    assert str(caught.value).startswith("templates/flights/document.html")


def test_a_mistake_in_the_base_is_told_with_its_line(tmp_path):
    folder = templates(tmp_path, name="_base", document_html="<html>\n<head></head>\n{{ nothing }}</html>")
    with pytest.raises(DefinitionError, match=r"^templates/_base/document.html:3: 'nothing' is undefined"):
        render(content(), "pdf", folder)


def test_a_summary_that_cannot_be_filled_in_names_the_report(tmp_path):
    with pytest.raises(DefinitionError, match=r"^report.summary of flights: 'flihgts' is undefined"):
        render(content(report=report(summary="{{ flihgts }} flights")), "pdf", templates(tmp_path))


def test_a_link_in_the_templates_that_leads_out_is_refused_when_they_are_frozen(tmp_path):
    home = tmp_path / "templates"
    (home / "flights").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (home / "flights" / "logo.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DefinitionError, match=r"templates/flights/logo.png: is a link out of the templates"):
        bundle(home, "flights")


def test_a_link_that_appears_later_leads_nowhere_either(tmp_path):
    folder = templates(tmp_path, **in_body('<img alt="x" src="logo.png">'))
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "flights" / "logo.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DefinitionError, match=r'"logo\.png" is missing'):
        render(content(), "pdf", folder)


def test_more_html_than_can_be_laid_out_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.adapters.documents.resources.MAX_HTML_BYTES", 1_000)
    with pytest.raises(PermanentError, match="characters of HTML are more than the 1,000 allowed"):
        render(content(), "pdf", templates(tmp_path))


def test_a_bundle_that_leads_out_of_its_folder_is_refused(tmp_path):
    from pipeline.adapters.documents import unpack

    for name in ("../evil.html", "/tmp/evil.html"):
        with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
            archive.writestr(name, "x")
        with pytest.raises(PermanentError, match="leads out of it"):
            unpack((tmp_path / "bundle.zip").read_bytes(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_document_after_a_failed_one_is_whole(tmp_path):
    folder = templates(tmp_path, document_html=extended(summary='{% if key %}<img alt="x" src="gone.png">{% endif %}'))
    with pytest.raises(PermanentError):
        render(content(key="UA", report=report(split_by="carrier")), "pdf", folder)
    assert "Flights of the week" in text_of(render(content(), "pdf", folder))
