"""The commands as they are typed: what they print for people and machines, and with what they exit."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.authoring import homes, schema
from pipeline.cli import application, authoring_previews
from pipeline.settings import settings
from tests.smtp_server import ScriptedServer


@pytest.fixture
def ours(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home as `pipeline init` makes it, and the working directory in it."""
    folder = tmp_path / "ours"
    homes.create(folder)
    monkeypatch.setenv("PIPELINE_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    settings.cache_clear()
    return folder


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[ScriptedServer]:
    server = ScriptedServer(tmp_path / "smtp.log").start()
    yield server
    server.stop()


def typed(*words: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(application(), words, input=answers)


def test_init_then_check_then_preview_works_at_once(home, tmp_path, monkeypatch):
    made = typed("init", str(tmp_path / "reports"))
    assert made.exit_code == 0
    assert "pipeline preview stock" in made.output
    monkeypatch.chdir(tmp_path / "reports")
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "reports"))
    monkeypatch.setenv("COLUMNS", "80")
    settings.cache_clear()
    checked = typed("check")
    assert checked.exit_code == 0
    assert checked.output.endswith("2 schedules are in order.\n")
    shown = typed("preview", "stock", "--key", "Lyon", "--no-open")
    assert shown.exit_code == 0, shown.output
    assert "stock: Lyon, one of 3 documents" in shown.output
    assert "var/previews/stock/Lyon.pdf  1 page" in shown.output
    assert "Anaïs Lefèvre <lyon@example.com>" in shown.output
    assert "Nothing was sent." in shown.output
    assert (tmp_path / "reports" / "var" / "previews" / "stock" / "Lyon.xlsx").is_file()
    assert max(map(len, (checked.output + shown.output).splitlines())) <= 80


def test_init_refuses_a_folder_in_use(ours):
    refused = typed("init", str(ours))
    assert refused.exit_code == 2
    assert "is not empty" in refused.output


def test_check_exits_1_and_prints_a_line_for_each_fault(ours):
    (ours / "schedules" / "bad.yaml").write_text("report: {title: B, url: b.csv}\nwhen: 0 25 * * *", encoding="utf-8")
    (ours / "reports" / "stok.py").touch()
    found = typed("check")
    assert found.exit_code == 1
    assert "fault schedules/bad.yaml: when.cron " in found.output
    assert found.output.endswith("1 fault in 1 file; 2 schedules are in order.\n")
    (ours / "schedules" / "bad.yaml").unlink()
    assert "note  reports/stok.py: is not used: no report is called stok: did you mean stock?" in typed("check").output


def test_check_for_machines_names_file_field_and_message(ours):
    (ours / "schedules" / "bad.yaml").write_text("report: {title: B, url: b.csv}\nlocal: de", encoding="utf-8")
    found = typed("check", "--json")
    assert found.exit_code == 1
    said = json.loads(found.output)
    assert (said["ok"], [one["name"] for one in said["fine"]]) == (False, ["retention", "stock"])
    (fault,) = said["faults"]
    assert (fault["file"], fault["field"]) == ("schedules/bad.yaml", "local")
    assert fault["text"] == f"schedules/bad.yaml: local {fault['message']}"


def test_check_of_a_name_that_is_none_is_refused(ours):
    refused = typed("check", "stok")
    assert (refused.exit_code, refused.output.strip()) == (2, 'there is no schedule file "stok": did you mean stock?')


def test_schema_prints_what_editors_read(ours):
    assert typed("schema").output == schema.text()


def test_preview_for_machines(ours):
    said = json.loads(typed("preview", "stock", "--format", "csv", "--json").output)
    assert (said["schedule"], said["key"], said["documents"], said["sent"]) == ("stock", "Gdańsk", 3, None)
    assert Path(said["files"]["csv"]) == ours / "var/previews/stock/Gdańsk.csv"
    (person,) = said["recipients"]
    assert person == {"email": "gdansk@example.com", "key": "Gdańsk", "name": "Łucja Żak", "locale": "en_GB"}


def test_a_preview_can_be_mailed_to_one_address_where_pipeline_mail_says(ours, monkeypatch, relay):
    monkeypatch.setenv("PIPELINE_SMTP_URL", relay.url)
    monkeypatch.setenv("PIPELINE_MAIL", "redirect:ok@us.example")
    settings.cache_clear()
    sent = typed("preview", "stock", "--key", "Lyon", "--to", "ok+me@us.example", "--format", "csv", "--no-open")
    assert sent.exit_code == 0, sent.output
    assert "Handed over for ok@us.example to relay 127.0.0.1" in sent.output
    (message,) = relay.taken()
    assert (message["sender"], message["recipient"]) == ("reports@localhost", "ok@us.example")
    assert b"To: ok+me@us.example" in relay.contents[0]
    assert b'filename="stock-Lyon-' in relay.contents[0]


def test_a_preview_that_cannot_be_mailed_says_why(ours, monkeypatch):
    monkeypatch.setenv("PIPELINE_CATCHER_URL", "smtp://127.0.0.1:9")
    settings.cache_clear()
    refused = typed("preview", "stock", "--format", "csv", "--to", "me@us.example", "--no-open")
    assert refused.exit_code == 2
    assert "no mail catcher listens at 127.0.0.1:9" in refused.output
    assert typed("preview", "stock", "--watch", "--to", "me@us.example").exit_code == 2
    assert "write it as KEY=VALUE" in typed("preview", "stock", "-p", "region").output


def test_on_a_desktop_the_document_is_opened(ours, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "xdg-open"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n', encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("DISPLAY", ":0")
    processes = []
    started = authoring_previews.subprocess.Popen
    monkeypatch.setattr(
        authoring_previews.subprocess, "Popen", lambda *a, **k: processes.append(started(*a, **k)) or processes[-1]
    )
    typed("preview", "stock", "--format", "csv", "--no-open")
    assert processes == []
    typed("preview", "stock", "--format", "csv")
    processes[0].wait(60)
    assert (tmp_path / "opened").read_text().strip().endswith("var/previews/stock/Gdańsk.csv")


# ---- new


@pytest.fixture
def shop(ours, monkeypatch):
    with sqlite3.connect(ours / "data" / "shop.db") as connection:
        connection.execute("create table orders (customer text, ordered_on text, amount real)")
        rows = [(("ACME", "Bolt")[n % 2], f"2026-11-{10 + n}", n * 1.5) for n in range(6)]
        connection.executemany("insert into orders values (?, ?, ?)", rows)
    connection.close()
    monkeypatch.setenv("PIPELINE_SOURCE_SHOP_URL", "sqlite:///data/shop.db")


def test_new_asks_tries_writes_checks_and_shows(shop, ours):
    answers = [
        "",  # the title as proposed
        "shopp",
        "shop",
        "select nowhere from orders",
        "select * from orders",
        "custmer",
        "customer",
        "me@us.example",
        "ACME=me@us.example",
        "noon",
        "weekly",
    ]
    made = typed("new", "late_orders", "--no-open", answers="\n".join(answers) + "\n")
    assert made.exit_code == 0, made.output
    for sentence in (
        "What is the report called? [Late orders]",
        'database "shopp" is not known: did you mean shop? Or set PIPELINE_SOURCE_SHOPP_URL',
        "no such column: nowhere",
        "6 rows",
        'there is no column "custmer"',
        "whose document? There is one for each customer",
        "late_orders: ACME, one of 2 documents",
        "Written: schedules/late_orders.yaml, schedules/late_orders.sql",
        "pipeline preview late_orders --watch",
    ):
        assert sentence in made.output, made.output
    text = (ours / "schedules" / "late_orders.yaml").read_text(encoding="utf-8")
    assert 'when: "0 7 * * mon"' in text
    assert (ours / "schedules" / "late_orders.sql").read_text(encoding="utf-8") == "select * from orders\n"
    again = typed("new", "late_orders")
    assert (again.exit_code, "is there already" in again.output) == (2, True)


def test_new_answers_can_be_said_in_advance(shop, ours):
    (ours / "orders.sql").write_text("select * from orders where ordered_on < :end_date", encoding="utf-8")
    made = typed(
        "new", "orders", "--yes", "--title", "Orders", "--database", "shop", "--query", "orders.sql",
        "--period", "2026-11", "--split-by", "customer",
        "--to", "select 'ACME' as key, 'a@acme.example' as email", "--when", "monthly",
        "--format", "csv", "--format", "html", "--no-open",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert ":end_date = 2026-12-01" in made.output
    assert "a@acme.example" in made.output
    assert typed("check", "orders").exit_code == 0


def test_new_writes_time_date_where_the_query_compares_days(shop, ours):
    query = "select * from orders where ordered_on >= :start and ordered_on < :end"
    made = typed("new", "days", "--yes", "--database", "shop", "--query", query, "--period", "2026-11", "--no-open")
    assert "The query compares days, so the report says time: date." in made.output
    assert "6 rows for 2026-11  :end = 2026-12-01  :start = 2026-11-01" in made.output
    path = ours / "schedules" / "days.yaml"
    written = path.read_text(encoding="utf-8")
    assert "  time: date\n" in written
    path.write_text(written.replace("  time: date\n", ""), encoding="utf-8")
    unsure = typed("preview", "days", "--no-open")
    assert 'source "rows": time: "ordered_on" holds days, and :start and :end are instants' in unsure.output
    path.write_text(written.replace("  time: date\n", "").replace("2026-11", "2013-11"), encoding="utf-8")
    assert 'gave no rows for 2013-11: source "rows": time: "ordered_on" holds days' in typed("preview", "days").output


def test_new_from_a_file_needs_no_query(ours):
    made = typed("new", "stock_list", "--no-open", answers="Stock list\ndata/stock.csv\n\n\n\n")
    assert made.exit_code == 0, made.output
    assert "13 rows" in made.output
    assert "The query?" not in made.output
    assert "url: data/stock.csv" in (ours / "schedules" / "stock_list.yaml").read_text(encoding="utf-8")


def test_new_takes_the_query_from_an_editor(shop, ours, tmp_path, monkeypatch):
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "select customer from orders" > "$1"\n', encoding="utf-8")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("EDITOR", str(editor))
    made = typed("new", "edited", "--database", "shop", "--no-open", answers="\n\n\n\n\n")
    assert made.exit_code == 0, made.output
    assert (ours / "schedules" / "edited.sql").read_text(encoding="utf-8") == "select customer from orders\n"


def test_new_asks_nothing_when_told_so_and_says_what_it_lacks(shop, ours):
    refused = typed("new", "quiet", "--yes")
    assert (refused.exit_code, "say it with --database or --file" in refused.output) == (2, True)
    refused = typed("new", "quiet", "--yes", "--database", "shop")
    assert (refused.exit_code, "say it with --query" in refused.output) == (2, True)
    refused = typed("new", "quiet", "--yes", "--database", "shop", "--query", "select nowhere")
    assert (refused.exit_code, "no such column: nowhere" in refused.output) == (2, True)
    assert not list((ours / "schedules").glob("quiet*"))


def test_new_without_rows_is_written_all_the_same(shop):
    made = typed(
        "new", "later", "--yes", "--database", "shop", "--query", "select * from orders where ordered_on > :end_date"
    )
    assert made.exit_code == 0, made.output
    assert "The query is fine, and gives no rows for this period." in made.output
    assert "No preview: " in made.output
