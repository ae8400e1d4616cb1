from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from pipeline.authoring import homes
from pipeline.authoring.check import check
from pipeline.errors import NotFound
from pipeline.settings import settings

PLAIN = """
    report:
      title: Stock
      url: data/stock.csv
      {report}
    {rest}
"""
ROWS = "warehouse,item\nLyon,Box\n"


@pytest.fixture
def stock(write):
    """A home with the report `stock` over a file; fields are added to its report, or to the schedule beside it."""

    def written(report: str = "", rest: str = "", **files: str) -> None:
        write({"schedules/stock.yaml": PLAIN.format(report=report, rest=rest), "data/stock.csv": ROWS})
        write(files)

    return written


def told(*names: str) -> list[str]:
    return [str(fault) for fault in check(names).faults]


def test_a_file_of_recipients_is_looked_into_and_bad_lines_are_told_by_their_numbers(stock):
    stock("", "recipients: {file: data/people.csv}", **{"data/people.csv": "email,name\na@x.example,A\nb@@x,B\n" * 8})
    said = told("stock")
    assert said[0].startswith('schedules/stock.yaml: recipients.file data/people.csv:3: email "b@@x" is not an')
    assert said[-1].endswith("data/people.csv: 10 more lines cannot be meant")

    stock("split_by: warehouse", "recipients: {file: data/people.csv}", **{"data/people.csv": "mail\na@x.example\n"})
    missing = "data/people.csv: line 1 has to name the columns, and has no email and no key: it has mail"
    assert told("stock") == [f"schedules/stock.yaml: recipients.file {missing}"]


def test_a_bad_line_is_also_told_as_the_row_that_a_run_tells_where_rows_have_several_lines(stock):
    people = 'email,note\n\na@x.example,"A\nB\nC"\nb@@x,B\n'
    stock("", "recipients: {file: data/people.csv}", **{"data/people.csv": people})
    (said,) = told("stock")
    assert "recipients.file data/people.csv:6 (row 3): email" in said


def test_a_good_home_is_fine_and_says_what_belongs_to_what(stock, write):
    stock(
        "split_by: warehouse",
        'when: "0 7 * * mon"\n    recipients: [{email: a@b.example, key: Lyon}]',
        **{
            "reports/stock.py": "def build(rows, period, params=None): return {}",
            "templates/stock/document.html": "{{ what_build_returns }}",
        },
    )
    write({"schedules/again.yaml": "report: stock"})
    found = check()
    assert (found.faults, found.notes) == ([], [])
    again, stocked = found.fine
    assert (stocked.name, stocked.when) == ("stock", "At 07:00 on Monday, UTC time")
    assert stocked.parts == ("pdf", "by warehouse", "build()", "own templates", "1 recipient")
    assert (again.name, again.target, again.when) == ("again", "stock", "by hand")


FIELDS = {
    "a query's parameter": (
        """database: d
      params: {region: eu}
      sql: "select 1 where a >= :strt and b = :regoin and t = '12:30'"
        """,
        "",
        ["report.sql :regoin is not known: did you mean region?", ":strt is not known: did you mean start?"],
    ),
    "a locale": ("locale: dee", "", ['report.locale "dee" is not a locale: did you mean']),
    "the summary": ('summary: "{{ row_count }}"', "", ['summary "row_count" is not known: did you mean rows_count?']),
    "the summary's syntax": ('summary: "{{ key"', "", ["report.summary"]),
    "the template's folder": (
        "template: stok", "", ['report.template there is no folder "templates/stok": make it, or leave template out']
    ),
    "the subject": ("", 'message: {subject: "{% if %}"}', ["message.subject"]),
    "the sender": ("", "message: {from: Me <nobody>}", ['message.from "nobody" is not an e-mail address']),
    "a recipient": (
        "",
        'recipients: [{email: a b@c.example, name: "A\\r\\nBcc: b", key: x, locale: xx_YY, zone: Europe/Berln}]',
        [
            "recipients.0.name 'A\\r\\nBcc: b' holds a line break: take it out",
            'recipients.0.email "a b@c.example" is not an e-mail address',
            "recipients.0.key has no meaning, as the report is not split",
            'recipients.0.locale "xx_YY" is not a locale',
            'recipients.0.zone "Europe/Berln" is not an IANA time zone: did you mean Europe/Berlin?',
        ],
    ),
    "the recipients' file": ("", "recipients: {file: people.csv}", ['recipients.file "people.csv" does not exist']),
    "the recipients' database": (
        "",
        "recipients: {source: {database: shoop, sql: 'select :nd'}}",
        ["recipients.source.sql :nd is not known: did you mean end?", 'recipients.source.database database "shoop"'],
    ),
    "a recipient twice": (
        "", "recipients: [a@b.example, a@b.example]", ["recipients.1 a@b.example is there twice: take one out"]
    ),
    "a parameter": (
        "params: {region: eu, top: 3}",
        "params: {regoin: us, top: many}",
        ['params.regoin there is no parameter "regoin": did you mean region?', "params.top"],
    ),
    "a folder": ("", "deliver_to: file:///x/{perid}.pdf", ["deliver_to", "knows no {perid}: did you mean period?"]),
    "a folder that needs a password": (
        "", 'deliver_to: "sftp://me:$PW_X@x.example/r/"', ["needs $PW_X: set PW_X in the environment or in .env"]
    ),
    "a webhook": (
        "",
        'deliver_to: [/srv/, {webhook: "hook:shop", secret: $SHOP_X}]',
        ['deliver_to.1.webhook webhook "shop" is not known', "deliver_to.1 SHOP_X is not set: set SHOP_X in the env"],
    ),
    "a folder without a key": (
        "split_by: warehouse", "deliver_to: file:///x/{period}.pdf", ["would be the same file for every warehouse"]
    ),
    "a figure that there is none of": (
        "columns: {stock: {total: sum}}",
        "send_if: stok > 3 and rows > 1",
        ['send_if there is no figure "stok": did you mean stock?'],
    ),
    "a condition that is none": ("", "send_if: import os", ['send_if "import os" is no condition: write it like']),
    "a limit": ("", "require: {rows: 1000}", ['require.rows "1000" is no limit: write it like ">= 1000"']),
    "a limit for no source": (
        "", 'require: {rows.stok: ">= 1"}', ["require.rows.stok counts a source that the report does not have"]
    ),
    "approvers of nothing": ("", "approvers: [a@b.example]", ["approvers are asked for nothing"]),
    "the end of nothing": ("", "lapse_after: 1h", ["lapse_after is for approvals: say approval: required"]),
    "an approver": ("", "approvers: nobody", ['approvers "nobody" is neither an e-mail address nor a webhook']),
    "a pool of nothing": ("", "pools: {fecth: stock}", ["pools.fecth is no kind of step: did you mean fetch?"]),
    "a pool": ("", "pools: {fetch: Stock House}", ["pools.fetch"]),
    "a limit of none": ("concurrency: 0", "", ["report.concurrency"]),
    "a retry": ("", "retry: {fecth: {attempts: 2}}", ["retry.fecth is no kind of step: did you mean fetch?"]),
}  # fmt: skip


@pytest.mark.parametrize(("report", "rest", "sentences"), FIELDS.values(), ids=FIELDS)
def test_a_fault_names_the_file_the_field_and_the_way_out(stock, home, report, rest, sentences):
    (home / ".env").write_text("PIPELINE_SOURCE_D_URL=sqlite:///d.db", encoding="utf-8")
    stock(report, rest)
    if "database:" in report:
        path = home / "schedules" / "stock.yaml"
        path.write_text(path.read_text().replace("  url: data/stock.csv\n", ""), encoding="utf-8")
    found = "\n".join(told())
    for sentence in sentences:
        assert sentence in found
    assert all(line.startswith("schedules/stock.yaml: ") for line in found.splitlines())


def test_everything_wrong_is_found_in_one_go_file_by_file(write):
    write(
        {
            "schedules/a.yaml": "report: {title: A, url: nowhere.csv, titel: B}\nwhen: {cron: 0 25 * * *}",
            "schedules/b.yaml": "report: {title: B, url: nowhere.csv}\nrecipients: nobody",
            "schedules/c.yaml": "report: [",
            "schedules/d.yaml": "report: bb",
            "reports/b.py": "import nothing_like_it",
            "templates/b/document.html": "{% if %}",
        }
    )
    found = told()
    places = [line.partition(": ")[0] for line in found]
    assert places == [
        "reports/b.py", *["schedules/a.yaml"] * 2, *["schedules/b.yaml"] * 2, "schedules/c.yaml", "schedules/d.yaml",
        "templates/b/document.html:1",
    ]  # fmt: skip
    assert (
        'schedules/b.yaml: report.url "nowhere.csv" does not exist in the home: a relative path starts there' in found
    )


def test_only_the_named_schedules_are_looked_at(write, stock):
    stock()
    write({"schedules/bad.yaml": "report: ["})
    assert told("stock") == []
    assert len(told("bad")) == 1
    with pytest.raises(NotFound, match='there is no schedule file "stok": did you mean stock'):
        check(["stok"])


def test_a_shared_report_is_told_about_once(write, stock):
    stock("locale: dee")
    write({"schedules/again.yaml": "report: stock", "schedules/more.yaml": "report: stock"})
    assert len(told()) == 1


def test_several_sources_are_named(write, monkeypatch):
    write(
        {
            "schedules/s.yaml": """
                report:
                  title: S
                  sources:
                    a: {url: "https://x.example/{start_date}/{region}", headers: {Authorization: Bearer $TOKEN_X}}
                    b: {database: warehouse, sql: select 1}
                    c: {database: shop, sql: select 1}
                recipients: {database: shop, query: "select email from people where day < :ende"}
            """
        }
    )
    monkeypatch.setenv("PIPELINE_SOURCE_SHOP_URL", "oracle://reader:secret@db.example/x")
    found = "\n".join(told())
    assert "report.sources.a.url {region} is not known: there are start, end, start_date, end_date" in found
    assert "report.sources.a.headers TOKEN_X is not set: set TOKEN_X in the environment or in .env" in found
    assert 'report.sources.b.database database "warehouse" is not known: set PIPELINE_SOURCE_WAREHOUSE_URL' in found
    assert (
        'report.sources.c.database the URL of "shop" needs the driver of oracle, which is missing: pip install oracledb'
        in found
    )
    assert "recipients.query :ende is not known: did you mean end?" in found
    assert "secret" not in found


CODE = {
    "too few arguments": ("def build(rows): return {}", "build() must take the rows and the period"),
    "an unknown source": (
        "def build(rows, period, contact): return {}",
        'build() asks for "contact", which is not a source of the report: did you mean contacts?',
    ),
    "no build": ("def bild(rows, period): return {}", "has no function build(rows, period)"),
    "an import": ("import nothing_like_it", "cannot be imported: ModuleNotFoundError"),
    "its syntax": ("def build(", "cannot be imported: SyntaxError"),
}


@pytest.mark.parametrize(("code", "sentence"), CODE.values(), ids=CODE)
def test_code_of_a_report_is_imported_and_its_arguments_compared(write, code, sentence):
    sources = "{rows: {url: a.csv}, contacts: {url: a.csv}}"
    write({"schedules/s.yaml": f"report: {{title: S, sources: {sources}}}", "a.csv": ROWS, "reports/s.py": code})
    found = told()
    assert len(found) == 1
    assert found[0].startswith(f"reports/s.py: {sentence}")


def test_code_may_take_other_sources_parameters_and_more(write):
    build = "def build(rows, period, *, contacts, params, extra=None, **more): return {}"
    sources = "{rows: {url: a.csv}, contacts: {url: a.csv}}"
    write({"schedules/s.yaml": f"report: {{title: S, sources: {sources}}}", "a.csv": ROWS, "reports/s.py": build})
    assert told() == []


WORKFLOW = """
    from pipeline.tasks import step, workflow

    @step
    def pull(run): ...

    @workflow
    def {name}(run, region: str = "eu", top: int = 3):
        return pull.s()
"""


def test_workflows_are_imported_and_given_their_parameters(write):
    write(
        {
            "workflows/nightly_a.py": WORKFLOW.format(name="nightly_a"),
            "workflows/broken_b.py": "# An example\nimport nothing_like_it",
            "workflows/broken_c.py": "def f(:",
            "schedules/a.yaml": "workflow: nightly_a\nparams: {region: us}\nretry: {pull: {attempts: 2}}",
            "schedules/b.yaml": "workflow: nigthly_a",
            "schedules/c.yaml": "workflow: nightly_a\nparams: {regoin: us, top: many}\nretry: {pul: {attempts: 2}}",
        }
    )
    found = told()
    assert found[0].startswith('schedules/b.yaml: workflow "nigthly_a" does not exist: did you mean nightly_a?')
    assert "schedules/c.yaml: params.regoin is no parameter of nightly_a: did you mean region?" in found
    assert any(line.startswith('schedules/c.yaml: params parameter top="many"') for line in found)
    assert "schedules/c.yaml: retry.pul is no kind of step: did you mean pull?" in found
    assert (
        "workflows/broken_b.py:2: cannot be imported: ModuleNotFoundError: No module named 'nothing_like_it'" in found
    )
    assert any(line.startswith("workflows/broken_c.py:1: cannot be imported: SyntaxError") for line in found)
    assert [one.name for one in check(["a"]).fine] == ["a"]


DOCUMENTS = {
    "syntax": ("{% block x %}", "document.html:1: is not a template: Unexpected end of template"),
    "a filter": ("\n{{ title|nofilter }}", "document.html:2: is not a template: No filter named 'nofilter'"),
    "itself": ('{% extends "document.html" %}', 'extends itself: write {% extends "_base/document.html" %}'),
    "a parent": (
        '{% extends "_base/documnt.html" %}',
        '"_base/documnt.html" is not there: did you mean _base/document.html?',
    ),
    "a part": ('{% include "footr.html" %}', '"footr.html" is not there: did you mean'),
    "a block": (
        '{% extends "_base/document.html" %}{% block tabel %}{% endblock %}',
        'block "tabel" is in none of the templates it extends: did you mean table?',
    ),
    "a name": ("{{ titel }}", '"titel" is not known: did you mean title?'),
    "an image": (
        '<p>\n<img alt="us" src="logo.png">',
        'document.html:2: "logo.png" is missing: did you mean logo2.png?',
    ),
    "an address": ('<img alt="x" src="https://x.example/a.png">', '"https://x.example/a.png" is refused'),
    "a file": ('<img alt="x" src="file:///etc/passwd">', '"file:///etc/passwd" is refused'),
    "no text": ("\udcff", "document.html: is not UTF-8 text"),
}


@pytest.mark.parametrize(("document", "sentence"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_templates_are_compiled_and_what_they_name_is_looked_for(stock, write, home, document, sentence):
    stock(**{"templates/stock/logo2.png": "x"})
    (home / "templates/stock/document.html").write_bytes(document.encode(errors="surrogateescape"))
    found = told()
    assert len(found) == 1
    assert found[0].startswith("templates/stock/document.html")
    assert sentence in found[0]


def test_what_a_template_may_do_is_no_fault(stock):
    stock(
        **{
            "templates/stock/document.html": """
                {% extends "_base/document.html" %}
                {% set greeting = "Hello" %}
                {% block body %}
                {{ super() }} {{ greeting }} {{ maybe|default("") }} {% if other is defined %}{{ other }}{% endif %}
                {% for row in rows %}{{ loop.index }} {% include "row.html" %}{% endfor %}
                {% block more %}{% endblock %}
                {% include ["own.html", "row.html"] ignore missing %}
                <a href="https://x.example/">x</a> <img alt="a" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
                <img alt="{{ key }}" src="pictures/{{ key }}.png"> <img alt="b" src="b.png">
                {% endblock %}
            """,
            "templates/stock/row.html": "{{ row.item }}",
            "templates/stock/b.png": "x",
            "templates/stock/document.css": 'body { background: url("b.png") url(#part) }',
            "templates/stock/subject.txt": "{{ title }}",
        }
    )
    assert told() == []


def test_messages_are_given_other_names_than_documents(stock):
    stock(
        rest='message: {subject: "{{ title }} {{ rows }}"}',
        **{
            "templates/stock/subject.txt": "{{ title }} {{ key }} {{ period_title }} {{ rows_count }}",
            "templates/stock/body.html": '<img src="https://x.example/a.png">{{ name }}\n{{ table }}',
            "templates/stock/body.txt": "{{ nam }}",
        },
    )
    subject, html, text = told()
    assert html.startswith('templates/stock/body.html:2: "table" is not known')
    assert text.startswith('templates/stock/body.txt:1: "nam" is not known: did you mean name?')
    assert subject.startswith('schedules/stock.yaml: message.subject "rows" is not known')


def test_a_message_shows_images_of_its_folder_and_such_as_programs_know(stock):
    images = ['"b.png"', '"https://x.example/a.png"', '"lost.png"', '"mark.svg"', '"{{ key }}.png"']
    page = "\n".join(f'<img alt="x" src={one}>' for one in images)
    stock(**{"templates/stock/body.html": page, "templates/stock/b.png": "x", "templates/stock/mark.svg": "<svg/>"})
    lost, drawn = told()
    assert lost.startswith('templates/stock/body.html:3: an image cannot be shown: "lost.png" is missing')
    assert drawn.startswith('templates/stock/body.html:4: "mark.svg" is image/svg+xml, which mail programs do not show')


def test_what_several_reports_share_is_told_once(stock, write):
    stock(**{"templates/_base/document.css": "} p {"})
    write({"schedules/other.yaml": "report: {title: Other, url: data/stock.csv}"})
    assert told() == ["templates/_base/document.css:1: is not a stylesheet: Unmatched }"]


def test_stylesheets_are_read_for_grammar_and_files(stock):
    stock(**{"templates/stock/document.css": '@import "more.css";\np { background: url(a.png) }\n} p {'})
    found = told()
    assert [line.partition(": ")[0].rpartition(":")[2] for line in found] == ["1", "2", "3"]
    assert '"more.css" is missing' in found[0]
    assert '"a.png" is missing' in found[1]
    assert "is not a stylesheet: Unmatched }" in found[2]


def test_a_program_that_is_not_here_is_a_note_and_a_secret_that_is_not_set_a_fault(home, write):
    write(
        {
            "bin/here.sh": "",
            "schedules/rotate.yaml": """
                command:
                  run: [/opt/nowhere/rotate.sh, "{due_date}"]
                  environment: {TOKEN: $NO_TOKEN}
                retry: {comand: {attempts: 2}}
            """,
            "schedules/here.yaml": "command: {run: [../bin/here.sh, a b], cwd: bin}",
            "schedules/cwd.yaml": "command: {run: [/bin/sh], cwd: nowhere}",
            "schedules/shell.yaml": 'command: [sh, -c, "echo {region} {due_date}"]\nparams: {region: eu}',
            "schedules/nightly.yaml": "task: {name: myapp.tasks.nightly, results: $NO_SUCH_URL}",
        }
    )
    (home / "bin/here.sh").chmod(0o755)
    found = check()
    assert [str(fault) for fault in found.faults] == [
        "schedules/nightly.yaml: task.results NO_SUCH_URL is not set: set it in the environment or in .env",
        "schedules/rotate.yaml: command.environment.TOKEN NO_TOKEN is not set: set it in the environment or in .env",
        "schedules/rotate.yaml: retry.comand is no kind of step: did you mean command?",
    ]
    assert [str(note) for note in found.notes] == [
        'schedules/cwd.yaml: command its folder "nowhere" is not on this machine: workers need it',
        'schedules/rotate.yaml: command the program "/opt/nowhere/rotate.sh" is not on this machine: workers need it',
        'schedules/shell.yaml: command a shell would run what is in {region}: write "$PIPELINE_PARAM_REGION" instead',
    ]
    assert [(one.name, one.target, one.parts) for one in found.fine] == [
        ("cwd", "sh", ("/bin/sh",)),
        ("here", "here.sh", ("../bin/here.sh 'a b'",)),
        ("shell", "sh", ("sh -c 'echo {region} {due_date}'", "region=eu")),
    ]


def test_what_a_run_waits_for_is_looked_at(stock):
    stock(rest='ready_when: {database: d, query: "select :ende, :due"}\n    after: stok')
    assert told() == ['schedules/stock.yaml: after "stok" is not a schedule: there are no others']
    stock("params: {site: x}", rest='ready_when: {database: d, query: "select :ende, :due, :site"}')
    unknown, database = told()
    assert unknown == "schedules/stock.yaml: ready_when.query :ende is not known: did you mean end?"
    assert 'ready_when.database database "d" is not known' in database


def test_whoever_waits_for_a_run_about_another_period_is_told(write):
    write(
        {
            "schedules/daily.yaml": "task: myapp.tasks.load",
            "schedules/weekly.yaml": "task: myapp.tasks.sum_up\nperiod: last_week\nafter: [daily, other]",
            "schedules/other.yaml": "task: myapp.tasks.load\nperiod: last_week",
        }
    )
    found = check()
    assert found.faults == []
    (note,) = map(str, found.notes)
    assert note == (
        "schedules/weekly.yaml: after daily is about yesterday, this is about last_week: "
        "it waits for a run about the very same period"
    )


def test_files_that_nothing_uses_are_noted_as_perhaps_misnamed(stock):
    stock(**{"reports/stok.py": "", "templates/stocks/subject.txt": "x", "schedules/old.sql": "select 1"})
    found = check()
    assert found.faults == []
    assert [str(note) for note in found.notes] == [
        "reports/stok.py: is not used: no report is called stok: did you mean stock?",
        "templates/stocks: is not used: no report is called stocks: did you mean stock?",
        "schedules/old.sql: no schedule file names it",
    ]


def test_settings_that_only_mail_needs_are_looked_at_too(stock, monkeypatch):
    stock()
    monkeypatch.setenv("PIPELINE_MAIL_FROM", "Reports <nobody@-x-.example>")
    monkeypatch.setenv("PIPELINE_NOTIFY", "ops@x.example, https://hooks.example/1, hook:ops, ops@-x-.example")
    settings.cache_clear()
    assert [line.partition(" ")[0] for line in told()] == ["PIPELINE_MAIL_FROM", "PIPELINE_NOTIFY", "PIPELINE_NOTIFY"]
    assert 'PIPELINE_NOTIFY webhook "ops" is not known: set PIPELINE_HOOK_OPS_URL' in told()


def test_a_folder_that_is_no_home_says_how_to_get_one(home):
    (home / "schedules").rmdir()
    with pytest.raises(NotFound, match="has no folder schedules/: go to a home, name one in PIPELINE_HOME"):
        check()


def test_the_shipped_home_is_in_order(monkeypatch, home):
    monkeypatch.setenv("PIPELINE_HOME", str(homes.STARTER))
    settings.cache_clear()
    found = check()
    assert (found.faults, found.notes) == ([], [])
    assert [one.name for one in found.fine] == ["retention", "stock"]


def test_days_in_a_database_that_is_a_file_are_told_where_instants_are_compared(write, home):
    with closing(sqlite3.connect(home / "shop.db")) as connection:
        connection.executescript("create table sales (day text); insert into sales values ('2026-11-09');")
    report = "title: Sales, database: shop, sql: 'select * from sales where day >= :start'"
    write({".env": "PIPELINE_SOURCE_SHOP_URL=sqlite:///shop.db", "schedules/sales.yaml": f"report: {{{report}}}"})
    (said,) = told()
    assert said.startswith('schedules/sales.yaml: report.time "day" holds days, and :start and :end are instants: ')
    write({"schedules/sales.yaml": f"report: {{{report}, time: date}}"})
    assert told() == []
