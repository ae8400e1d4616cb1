from __future__ import annotations

import csv
import io
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pypdf
import pytest

from pipeline.authoring import watching
from pipeline.authoring.preview import Preview, render
from pipeline.authoring.rehearsal import Wish, rehearsal
from pipeline.authoring.watching import changes, previews
from pipeline.errors import DefinitionError, NotFound, PermanentError, PipelineError, Refused

MONDAY = datetime(2026, 11, 16, 6, 0, tzinfo=UTC)
STOCK = """
    report:
      title: Stock
      period: last_week
      sources:
        rows: {url: data/stock.csv}
        counts: {url: data/counts.csv}
      split_by: warehouse
      params: {threshold: 10}
      formats: [csv, html]
      summary: "{{ rows_count }} items, below {{ params.threshold }}: {{ low }}, counted by {{ counted_by }}"
    when: {cron: "0 7 * * mon", timezone: Europe/Berlin}
    message: {from: "Stock <stock@us.example>", reply_to: desk@us.example, attach: csv}
    recipients:
      - {key: Lyon, email: lyon@us.example, name: Anaïs, locale: fr_FR}
      - {key: Gdańsk, email: gdansk@us.example}
      - {key: Gdańsk, email: chief@us.example}
"""
BUILD = """
    def build(rows, period, counts, params):
        low = [row for row in rows if row.in_stock < params["threshold"]]
        return {"low": len(low), "counted_by": counts[0].name}
"""


@pytest.fixture
def stock(write) -> None:
    write(
        {
            "schedules/stock.yaml": STOCK,
            "reports/stock.py": BUILD,
            "data/stock.csv": "warehouse,item,in_stock\nLyon,Box,3\nGdańsk,Box,4\nGdańsk,Film,50\n",
            "data/counts.csv": "warehouse,name\nLyon,Ada\nGdańsk,Bo\n",
        }
    )


def preview(**wish: object) -> Preview:
    with rehearsal(Wish("stock", **wish), at=MONDAY) as (run, fetched):  # type: ignore[arg-type]
        return render(run, fetched, wish.get("key"), wish.get("format"))  # type: ignore[arg-type]


def test_the_first_document_is_made_as_a_run_would_make_it(stock, home):
    made = preview()
    assert (made.schedule, made.key, made.keys, made.rows) == ("stock", "Gdańsk", 2, 2)
    assert (made.period.label, made.period.zone) == ("2026-W46", "Europe/Berlin")
    assert {kind: path.relative_to(home).as_posix() for kind, path in made.files.items()} == {
        "csv": "var/previews/stock/Gdańsk.csv",
        "html": "var/previews/stock/Gdańsk.html",
    }
    rows = list(csv.reader(io.StringIO(made.files["csv"].read_text(encoding="utf-8-sig"))))
    assert len(rows) == 3
    assert "2 items, below 10: 1, counted by Bo" in made.files["html"].read_text(encoding="utf-8")
    assert [one.email for one in made.recipients] == ["gdansk@us.example", "chief@us.example"]
    assert [(one.name, one.rows) for one in made.fetched] == [("rows", 3), ("counts", 2)]


def test_a_key_a_period_parameters_and_a_format_can_be_chosen(stock):
    made = preview(key="Lyon", period="2026-10", params={"threshold": "3"}, format="pdf")
    assert (made.period.label, list(made.files), made.pages) == ("2026-10", ["pdf"], 1)
    text = pypdf.PdfReader(made.files["pdf"]).pages[0].extract_text()
    assert "1 items, below 3: 0, counted by Ada" in text


def test_the_message_is_the_one_that_its_first_recipient_would_get(stock):
    made = preview(key="Lyon")
    assert (made.sender, made.reply_to) == ("Stock <stock@us.example>", "desk@us.example")
    assert "Lyon" in made.message.subject
    assert "Bonjour Anaïs" in made.message.text, "the reader's language is French"
    assert [one.name for one in made.attached] == ["stock-Lyon-2026-W46.csv"]


def test_what_is_bound_is_told(write, home, monkeypatch):
    with sqlite3.connect(home / "shop.db") as connection:
        connection.execute("create table sales (day text, amount integer)")
        connection.execute("insert into sales values ('2026-11-10', 7)")
    connection.close()
    monkeypatch.setenv("PIPELINE_SOURCE_SHOP_URL", "sqlite:///shop.db")
    query = "select * from sales where day >= :start_date and day < :end_date and amount > :least"
    write(
        {
            "schedules/stock.yaml": f"""
                report: {{title: S, database: shop, sql: "{query}", params: {{least: 1}}, formats: csv}}
                period: last_week
                recipients: {{database: shop, query: "select 'me@us.example' as email"}}
            """
        }
    )
    made = preview()
    assert made.key == "all"
    rows, recipients = made.fetched
    assert rows.bound == {"start_date": "2026-11-09", "end_date": "2026-11-16", "least": "1"}
    assert (recipients.name, recipients.rows) == ("recipients", 1)
    assert [one.email for one in made.recipients] == ["me@us.example"]


REFUSED = {
    "an unknown key": (
        {"key": "Lion"},
        PermanentError,
        'the key "Lion" has no rows in this period: did you mean Lyon?',
    ),
    "an unknown format": ({"format": "xls"}, Refused, '"xls" is not a format: did you mean xlsx?'),
    "an unknown parameter": ({"params": {"treshold": 1}}, Refused, "did you mean threshold?"),
    "an unknown period": ({"period": "lastweek"}, Refused, "did you mean last_week?"),
}


@pytest.mark.parametrize(("wish", "kind", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_with_a_hint(stock, wish, kind, sentence):
    with pytest.raises(kind) as refused:
        preview(**wish)
    assert sentence in str(refused.value)


def test_a_schedule_that_is_none_or_no_report_says_so(write):
    write({"schedules/stok.yaml": "workflow: retention", "schedules/bad.yaml": "report: {titel: x}"})
    with pytest.raises(NotFound, match=r'there is no schedule "stock".*did you mean stok'):
        preview()
    for name, kind, sentence in (("stok", Refused, "runs a workflow"), ("bad", DefinitionError, "did you mean title")):
        with pytest.raises(kind, match=sentence), rehearsal(Wish(name)):
            pass


def test_no_rows_no_preview_unless_an_empty_document_is_wanted(write, stock):
    write({"data/stock.csv": "warehouse,item,in_stock\n"})
    with pytest.raises(Refused, match='source "rows" gave no rows for 2026-W46: try another with --period'):
        preview()
    write(
        {
            "schedules/stock.yaml": "report: {title: S, url: data/stock.csv, formats: html}\non_empty: send",
            "reports/stock.py": "def build(rows, period): return {}",
        }
    )
    assert preview().rows == 0


def test_what_was_fetched_is_gone_afterwards(stock, home):
    preview()
    assert [path.name for path in (home / "var" / "previews").iterdir()] == ["stock"]
    assert list((home / "var" / "scratch").iterdir()) == []


def test_watching_makes_it_anew_and_asks_sources_only_for_what_concerns_them(stock, write, home):
    def edits():
        write({"templates/stock/document.html": "<html lang=en><head><title>x</title></head>{{ key }} {{ nothing }}"})
        yield {Path("templates/stock/document.html")}
        # Nobody asks for these rows yet: only looks have changed.
        write(
            {"data/stock.csv": "warehouse,item,in_stock\nOslo,Box,1\n", "data/counts.csv": "warehouse,name\nOslo,Cy\n"}
        )
        write({"templates/stock/document.html": "<html lang=en><head><title>x</title></head>{{ key }} again"})
        yield {Path("templates/stock/document.html")}
        yield {Path("data/stock.csv")}

    first, wrong, again, fresh = list(previews(Wish("stock", period="2026-W46"), edits()))
    assert isinstance(first[1], Preview)
    assert first[0] == set()
    assert isinstance(wrong[1], PipelineError)
    assert "templates/stock/document.html:1: 'nothing' is undefined" in str(wrong[1])
    assert isinstance(again[1], Preview), again[1]
    assert again[1].key == "Gdańsk"
    assert "Gdańsk again" in again[1].files["html"].read_text(encoding="utf-8")
    assert fresh[1].key == "Oslo"


def test_changes_are_noticed_except_those_of_the_pipeline_itself(home, write):
    write({"schedules/a.yaml": "1", "schedules/b.yaml": "1", "var/x": "1", ".env": "", ".git/x": "1"})
    found = changes(home, pause=0.01)
    # Also those made while the first preview is still being rendered.
    write({"schedules/a.yaml": "22", "var/x": "22", ".git/x": "22", "templates/t.html": "new"})
    (home / "schedules" / "b.yaml").unlink()
    assert {path.as_posix() for path in next(found)} == {"schedules/a.yaml", "schedules/b.yaml", "templates/t.html"}
    write({".env": "PIPELINE_LOCALE=de"})
    assert {path.as_posix() for path in next(found)} == {".env"}


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("low > 1 or late_rate > 0.5", "low is 1, late_rate is 0.04"),
        ("rows == 2 and documents == 2 and counted_by == 'Bo' and in_stock == 54", None),
    ],
)
def test_it_says_whether_a_run_would_send_it(stock, home, condition, said):
    build = home / "reports" / "stock.py"
    build.write_text(build.read_text().replace('{"low"', '{"figures": {"Late rate": 0.04}, "low"'), encoding="utf-8")
    file = home / "schedules" / "stock.yaml"
    summed = file.read_text().replace("  split_by:", "  columns: {item: Item, in_stock: {total: sum}}\n  split_by:")
    file.write_text(f"{summed}send_if: {condition}\n", encoding="utf-8")

    warnings = preview().warnings
    assert [one for one in warnings if "send_if" in one] == (
        [f"a run would not send it: send_if {condition}: {said}"] if said else []
    )


def test_a_figure_that_there_is_none_of_fails_it_with_the_nearest_name(stock, home):
    file = home / "schedules" / "stock.yaml"
    file.write_text(file.read_text() + "send_if: lwo > 1\n", encoding="utf-8")
    with pytest.raises(PermanentError, match=r'send_if: there is no figure "lwo": did you mean low\?'):
        preview()


def test_what_is_saved_a_moment_after_another_file_is_not_passed_over(home, write, monkeypatch):
    """One save is noticed, and the next comes while its editor may still be writing."""
    saves = iter(["schedules/first.yaml", "schedules/second.yaml"])
    monkeypatch.setattr(watching.time, "sleep", lambda _: write({next(saves): "x"}))
    assert next(changes(home)) == {Path("schedules/first.yaml"), Path("schedules/second.yaml")}
