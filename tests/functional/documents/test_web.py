"""HTML documents open anywhere: one file, nothing to load, nothing that runs."""

import re
from html.parser import HTMLParser

import pytest

from pipeline.adapters.documents import render
from pipeline.errors import DefinitionError
from tests.document_stories import content, extended, report, templates

SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return templates(tmp_path_factory.mktemp("base"))


def loaded(page):
    """Every address that a browser would load by itself."""
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.extend(value for name, value in attrs if name in {"src", "srcset", "poster", "data"})
            found.extend(value for name, value in attrs if tag in {"link", "image", "use"} and name == "href")

    Reader().feed(page)
    return found + re.findall(r"url\((.*?)\)", page)


def test_the_page_has_everything_in_it(base):
    document = render(content(), "html", base)
    page = document.data.decode()
    assert (document.media_type, document.suffix, document.pages) == ("text/html; charset=utf-8", ".html", None)
    assert loaded(page)
    assert all(address.startswith("data:") for address in loaded(page))
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert page.index("<style>") < page.index("</head>")
    assert '<html lang="en" dir="ltr">' in page
    assert "Flights of the week" in page


def test_the_same_content_gives_the_same_page(base):
    assert render(content(), "html", base).data == render(content(), "html", base).data


def test_files_of_the_bundle_are_written_into_it(tmp_path):
    folder = templates(
        tmp_path,
        logo_svg=SQUARE,
        more_css=".b { background: url('logo.svg') }",
        paper_css="@page { margin: 0 }",
        document_css='/* url(gone.png) */ @import "_base/document.css"; '
        '@import url(more.css) screen; @import "paper.css" print;',
        document_html=extended(
            head='<link rel="stylesheet" href="more.css"><style>h1 { background: url(logo.svg) }</style>',
            summary='<p style="background: url(logo.svg)"><IMG ALT=x SRC=logo.svg><a href="https://example.com/?a=1&amp;b=2">'
            "link</a> &copy; &#8364; <!-- said --><br/></p>",
        ),
    )
    page = render(content(), "html", folder).data.decode()
    assert all(address.strip("\"'").startswith(("data:", "&quot;data:")) for address in loaded(page))
    assert page.count("data:image/svg+xml") == 6  # two sheets, <style>, style="", <img>, and the chart
    assert "@media screen {" in page
    assert "@page { margin: 0 }" not in page
    assert '<a href="https://example.com/?a=1&amp;b=2">' in page
    assert "&copy; &#8364; <!-- said --><br/>" in page


def test_a_page_without_a_head_has_no_place_for_its_stylesheet(tmp_path):
    with pytest.raises(DefinitionError, match=r"templates/flights/document.html: it has no <head>"):
        render(content(), "html", templates(tmp_path, document_html="<p>{{ title }}</p>"))


def test_srcset_is_refused(tmp_path):
    folder = templates(
        tmp_path, logo_svg=SQUARE, document_html=extended(summary='<img alt="x" src="logo.svg" srcset="a.png 2x">')
    )
    with pytest.raises(DefinitionError, match="srcset is not for documents"):
        render(content(), "html", folder)


def test_right_to_left_readers_get_a_page_for_them(base):
    assert '<html lang="ar" dir="rtl">' in render(content(locale="ar", report=report()), "html", base).data.decode()
