"""What a schedule file says: examples mean what stands there, and mistakes are told at their field."""

from __future__ import annotations

import textwrap
from datetime import UTC, date, datetime, timedelta

import pytest
import yaml

from pipeline import schedule, timing
from pipeline.errors import DefinitionError
from pipeline.report import Report, Source
from pipeline.retry import Retry
from pipeline.schedule import Person, Schedule
from pipeline.when import When

PLACE = "schedules/weekly.yaml"
REPORT = {"title": "Shipments", "database": "warehouse", "sql": "select 1"}


def parse(**fields):
    return schedule.parse({"report": REPORT, **fields}, PLACE)


def refusal(definition):
    with pytest.raises(DefinitionError) as refused:
        schedule.parse(definition, PLACE)
    return [line.removeprefix(f"{PLACE}: ") for line in str(refused.value).splitlines()]


# ---- examples


def test_the_example_of_the_design_is_complete():
    written = yaml.safe_load(
        textwrap.dedent("""
        report:
          title: Your shipments
          period: last_week
          database: warehouse                 # PIPELINE_SOURCE_WAREHOUSE_URL
          sql: customer_shipments.sql         # beside this file; :start, :end; the same text runs in psql
          split_by: customer_id               # one document per key; left out: one for all
          formats: [pdf, xlsx]
        when: "0 7 * * mon"                   # short for {cron: ..., timezone: PIPELINE_TIMEZONE}
        recipients: {database: warehouse, query: "select customer_id as key, email, name from contacts where active"}
        """)
    )
    found = schedule.parse(written, "schedules/customer_shipments.yaml")

    assert found.report.sources == {"rows": Source(database="warehouse", sql="customer_shipments.sql")}
    assert (found.report.split_by, found.report.formats) == ("customer_id", ["pdf", "xlsx"])
    assert found.when == When(cron="0 7 * * mon")
    query = "select customer_id as key, email, name from contacts where active"
    assert found.recipients.source == Source(database="warehouse", sql=query)
    assert (found.kind, found.period_spec) == ("report", "last_week")


def test_the_policies_of_the_design_that_are_there():
    written = yaml.safe_load(
        textwrap.dedent("""
        when: {cron: "0 7 1 * *", timezone: America/New_York}
        on_empty: skip                        # fail | skip | send
        allow_failed: 0%                      # documents that may fail before the gate closes
        retry:
          fetch: {attempts: 5, first: 30s, factor: 2, ceiling: 15m}
          deliver: {attempts: 8, first: 1m, ceiling: 1h, give_up_after: 24h}
        deliver_to: ["file:///reports/{period}/"]
        """)
    )
    found = parse(**written)

    assert (found.on_empty, found.allow_failed, [*found.folders]) == ("skip", 0.0, ["file:///reports/{period}/"])
    assert found.retry_for("fetch") == Retry(attempts=5, first=30, factor=2, ceiling=900)
    assert found.retry_for("deliver") == Retry(attempts=8, first=60, factor=2, ceiling=3600, give_up_after=86400)


@pytest.mark.parametrize("url", ["https://x.example:8443/r/{key}", "http://shop/r?key={key}&w={period}", "hook:shop"])
def test_a_webhook_is_an_address_or_a_name(url):
    (found,) = parse(deliver_to={"webhook": url}).webhooks.values()
    assert (found.webhook, found.on_uncertain) == (url, "resend")


def test_a_workflow_needs_no_report():
    found = schedule.parse({"workflow": "nightly_import", "params": {"region": "eu"}, "when": "0 2 * * *"}, PLACE)

    assert (found.kind, found.workflow, found.params) == ("workflow", "nightly_import", {"region": "eu"})
    assert found.period_spec == "yesterday"


def test_a_program_and_a_task_of_another_application_have_short_forms():
    rotate = schedule.parse({"command": ["/opt/bin/rotate.sh", "--day", "{due_date}", 7]}, PLACE)
    nightly = schedule.parse({"task": "myapp.tasks.nightly"}, PLACE)

    assert (rotate.kind, rotate.target, rotate.command.time_limit) == ("command", "rotate.sh", "1h")
    assert rotate.command.run == ["/opt/bin/rotate.sh", "--day", "{due_date}", "7"]
    assert (nightly.kind, nightly.target, nightly.task.queue) == ("task", "myapp.tasks.nightly", "celery")
    assert (rotate.retry_for("command").attempts, nightly.retry_for("task").attempts) == (5, 1)


def test_a_run_may_wait_for_data_and_for_other_schedules():
    query = {"database": "warehouse", "query": "select max(day) >= :end from load_log", "every": "5m"}
    found = parse(ready_when={**query, "give_up_after": "3h"}, after="nightly_import")

    assert found.ready_when.source == Source(database="warehouse", sql=query["query"])
    assert (found.ready_when.give_up_after, found.ready_when.otherwise) == ("3h", "fail")
    assert found.after.schedules == ["nightly_import"]
    assert parse(after=["a", "b"]).after.schedules == ["a", "b"]


# ---- short forms


def test_the_message_may_be_shaped():
    found = parse(message={"from": "Us <us@x.example>", "subject": "For {{ name }}", "attach": "pdf"})

    assert (found.message.sender, found.message.attach) == ("Us <us@x.example>", ["pdf"])


@pytest.mark.parametrize(
    ("written", "people"),
    [
        ("anna@acme.example", [Person(email="anna@acme.example")]),
        (
            ["a@x.example", {"email": "b@x.example", "name": "B"}],
            [Person(email="a@x.example"), Person(email="b@x.example", name="B")],
        ),
        ([{"email": "a@x.example", "key": 42}], [Person(email="a@x.example", key="42")]),
        ({"people": [{"email": "a@x.example"}]}, [Person(email="a@x.example")]),
    ],
)
def test_recipients_may_be_written_down(written, people):
    assert parse(recipients=written).recipients.people == people


def test_recipients_may_come_from_a_file():
    assert parse(recipients={"file": "people.csv"}).recipients.source == Source(url="people.csv")


@pytest.mark.parametrize(("written", "share"), [("2%", 0.02), (0.02, 0.02), ("0.5", 0.5), ("100%", 1.0), (0, 0.0)])
def test_shares(written, share):
    assert parse(allow_failed=written).allow_failed == share


@pytest.mark.parametrize(
    ("when", "due"),
    [
        ("0 7 * * mon", datetime(2026, 11, 16, 7, tzinfo=UTC)),
        ({"cron": "0 7 * * mon", "timezone": "Europe/Berlin"}, datetime(2026, 11, 16, 6, tzinfo=UTC)),
        ({"every": "15m"}, datetime(2026, 11, 16, 0, 15, tzinfo=UTC)),
        ({"every": "1h", "anchor": "2026-01-01T00:20"}, datetime(2026, 11, 16, 0, 20, tzinfo=UTC)),
        ({"at": "2026-12-01T07:00", "timezone": "Asia/Tokyo"}, datetime(2026, 11, 30, 22, tzinfo=UTC)),
        ({"at": ["2026-12-01T07:00Z", "2026-11-17"]}, datetime(2026, 11, 17, tzinfo=UTC)),
        (
            {"cron": "0 7 18 11 *", "except_on": {"holidays": "DE-SN"}, "on_holiday": "before"},
            datetime(2026, 11, 17, 7, tzinfo=UTC),
        ),
        ({"cron": "0 7 * * *", "only_on": [date(2026, 11, 20)]}, datetime(2026, 11, 20, 7, tzinfo=UTC)),
    ],
)
def test_when_says_what_is_due_next(when, due):
    found = parse(when=when).when
    midnight = datetime(2026, 11, 16, tzinfo=UTC)

    assert timing.next_after(found.spec("UTC"), found.timezone or "UTC", midnight) == due


def test_the_schedules_period_goes_before_the_reports():
    assert parse(period="last_month").period_spec == "last_month"
    assert parse().period_spec == "yesterday"


def test_a_retry_is_the_files_over_the_steps_own():
    found = parse(retry={"load": {"attempts": 2}})

    assert found.retry_for("load", Retry(attempts=9, first=1, ceiling=5)) == Retry(attempts=2, first=1, ceiling=5)
    assert found.retry_for("render") == schedule.RETRIES["render"]
    assert found.retry_for("anything") == Retry()


# ---- mistakes


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"whne": "0 7 * * *"}, "whne is not a field here: did you mean when?"),
        ({"zzz": 1}, f"zzz is not a field here (allowed: {', '.join(sorted(Schedule.model_fields))})"),
        ({"when": "0 25 * * *"}, 'when.cron "0 25 * * *": hour 25 is outside 0-23'),
        (
            {"when": "0 0 30 2 *"},
            'when.cron "0 0 30 2 *": can never fire: day-of-month is 30, and February has no such day',
        ),
        (
            {"when": {"cron": "0 7 * * *", "timezone": "Europe/Berln"}},
            'when.timezone time zone "Europe/Berln" is not known: did you mean Europe/Berlin?',
        ),
        ({"when": {"cron": "0 7 * * *", "every": "5m"}}, "when needs exactly one of cron, every, at"),
        ({"when": {}}, "when needs exactly one of cron, every, at"),
        ({"when": {"cron": "0 7 * * *", "anchor": "2026-01-01"}}, "when anchor goes with every"),
        ({"when": {"at": "tomorrow"}}, 'when.at "tomorrow" is not a date with a time: write it like 2026-11-16T07:00'),
        ({"when": {"every": "0s"}}, 'when.every "0s" is no time at all: leave it out, or write it like 2m'),
        ({"when": {"corn": "0 7 * * *"}}, "when.corn is not a field here: did you mean cron?"),
        (
            {"when": {"cron": "0 7 * * *", "except_on": "holidays:DE-BYY"}},
            (
                'when.except_on "DE-BYY": DE has no subdivision BYY: did you mean DE-BY? It has Augsburg, BB, BE, BW, '
                "BY, HB, HE, HH, MV, NI, NW, RP, SH, SL, SN, ST, TH"
            ),
        ),
        (
            {"when": {"cron": "0 7 * * *", "only_on": {"holidays": False}}},
            'when.only_on holidays: NO means "no" in YAML: write holidays:NO, without the space',
        ),
        (
            {"when": {"cron": "0 7 * * sat", "only_on": "business_days"}},
            "when.only_on: no day is left on which it could ever fire",
        ),
        (
            {"when": {"cron": "0 7 1 * *", "day": "last_day"}},
            'when.day: last_day stands in place of the day fields of "0 7 1 * *": write them as *',
        ),
        ({"when": 5}, "when 5: must be a mapping of fields"),
        ({"report": {**REPORT, "titel": "x"}}, "report.titel is not a field here: did you mean title?"),
        ({"report": {"database": "d", "sql": "select 1"}}, "report.title is missing"),
        (
            {"report": {"title": "x", "sql": "select 1"}},
            "report sql needs database: the name of a PIPELINE_SOURCE_<NAME>_URL",
        ),
        (
            {"report": {"title": "x", "sources": {"a": {"urll": "b"}}}},
            "report.sources.a.urll is not a field here: did you mean url?",
        ),
        (
            {"report": {"title": "x", "sources": {"a": {"sql": "b"}}}},
            "report.sources.a sql needs database: the name of a PIPELINE_SOURCE_<NAME>_URL",
        ),
        (
            {"report": {**REPORT, "columns": {"a": {"lable": "x"}}}},
            "report.columns.a.lable is not a field here: did you mean label?",
        ),
        (
            {"report": {**REPORT, "chart": {"x": "a", "y": "b", "kind": "pie"}}},
            "report.chart.kind \"pie\": input should be 'bar' or 'line'",
        ),
        (
            {"report": {**REPORT, "params": {"start": 1}}},
            "report.params.start cannot be a parameter: queries get the period's instants as :start",
        ),
        (
            {"report": {**REPORT, "formats": ["pdf", "doc"]}},
            "report.formats.1 \"doc\": input should be 'pdf', 'xlsx', 'csv' or 'html'",
        ),
        (
            {"deliver_to": ["file:///x/{perid}.pdf"]},
            'deliver_to.0.folder "file:///x/{perid}.pdf" knows no {perid}: did you mean period?',
        ),
        (
            {"deliver_to": "https://x.example/r"},
            'deliver_to.0.folder "https://x.example/r" is not a folder: a webhook is written {webhook: https://x.example/r}',
        ),
        (
            {"deliver_to": "sftp://me:hunter2@x.example/reports/"},
            "deliver_to.0.folder holds a password: write $NAME in its place, and set NAME in the environment",
        ),
        (
            {"deliver_to": {"webhook": "https://x.example", "heders": {}}},
            "deliver_to.0.heders is not a field here: did you mean headers?",
        ),
        (
            {"deliver_to": {"webhook": "x.example/reports"}},
            'deliver_to.0.webhook "x.example/reports" is not a webhook: write https://host/path or hook:NAME',
        ),
        (
            {"deliver_to": {"webhook": "https://x.example/r?token=hunter2"}},
            "deliver_to.0.webhook holds a secret: put the URL into PIPELINE_HOOK_<NAME>_URL, and write hook:NAME here",
        ),
        (
            {"deliver_to": {"webhook": "https://x.example/{kee}"}},
            'deliver_to.0.webhook "https://x.example/{kee}" knows no {kee}: did you mean key?',
        ),
        (
            {"deliver_to": {"webhook": "hook:shop", "secret": "hunter2"}},
            'deliver_to.0.secret must be the name of a variable of the environment, such as "$SHOP_SECRET"',
        ),
        (
            {"deliver_to": {"webhook": "hook:shop", "headers": {"X-Api-Key": "hunter2"}}},
            "deliver_to.0.headers.X-Api-Key holds a secret: write $NAME in its place, and set NAME in the environment",
        ),
        (
            {"deliver_to": {"webhook": "hook:shop", "headers": {"content-type": "text/plain"}}},
            "deliver_to.0.headers.content-type is set by each request itself: leave it out",
        ),
        (
            {"deliver_to": {"webhook": "hook:shop", "secrets": "$A"}},
            "deliver_to.0.secrets is not a field here: did you mean secret?",
        ),
        (
            {"deliver_to": {"webhook": "hook:shop", "attach": "xlsx"}},
            "deliver_to.attach names xlsx, which report.formats does not make",
        ),
        ({"deliver_to": ["/a/", {"folder": "/a/"}]}, 'deliver_to has "/a/" twice: take one out'),
        ({"deliver_to": 5}, "deliver_to.0 5: must be a mapping of fields"),
        ({"workflow": "nightly"}, "needs exactly one of report, workflow, task, command"),
        ({"report": None}, "needs exactly one of report, workflow, task, command"),
        (
            {"report": None, "workflow": "n", "recipients": ["a@x.example"]},
            "recipients and deliver_to belong to a report, not to a workflow",
        ),
        (
            {"report": None, "workflow": "Nightly!"},
            "workflow \"Nightly!\": string should match pattern '^[a-z][a-z0-9_]*$'",
        ),
        (
            {"report": {**REPORT, "split_by": "customer"}, "recipients": ["a@x.example"]},
            "recipients need a key each: the report is split by customer",
        ),
        (
            {"recipients": {"database": "d", "qery": "select"}},
            "recipients.qery is not a field here: did you mean query?",
        ),
        (
            {"recipients": {"query": "select 1"}},
            "recipients query needs database: the name of a PIPELINE_SOURCE_<NAME>_URL",
        ),
        (
            {"recipients": {"query": "select 1", "file": "a", "database": "d"}},
            "recipients needs either query (with database) or file",
        ),
        (
            {"recipients": [{"email": "a@x.example", "nmae": "x"}]},
            "recipients.people.0.nmae is not a field here: did you mean name?",
        ),
        ({"recipients": 5}, "recipients 5: must be a mapping of fields"),
        ({"message": {"attach": "xlsx"}}, "message.attach names xlsx, which report.formats does not make"),
        ({"message": {"form": "x"}}, "message.form is not a field here: did you mean from?"),
        ({"retry": {"fetch": 5}}, "retry.fetch 5: must be a mapping of fields"),
        ({"allow_failed": "150%"}, 'allow_failed "150%" is not a share of all documents: write it like 2% or 0.02'),
        ({"allow_failed": 5}, 'allow_failed "5" is not a share of all documents: write it like 2% or 0.02'),
        ({"allow_failed": True}, 'allow_failed "True" is not a share of all documents: write it like 2% or 0.02'),
        ({"allow_failed": "some%"}, 'allow_failed "some%" is not a share of all documents: write it like 2% or 0.02'),
        ({"allow_failed": [1]}, 'allow_failed "[1]" is not a share of all documents: write it like 2% or 0.02'),
        ({"on_empty": "sned"}, "on_empty \"sned\": input should be 'fail', 'skip' or 'send'"),
        ({1: "x"}, "1 must be a word"),
        ({"report": None, "command": ["a"], "task": "b"}, "needs exactly one of report, workflow, task, command"),
        (
            {"report": None, "task": "b", "deliver_to": "file:///x/"},
            "recipients and deliver_to belong to a report, not to a task",
        ),
        (
            {"report": None, "command": "rotate.sh --day 1"},
            'command.run is a list of words: [program, argument, …]; what needs a shell: [/bin/sh, -c, "… | …"]',
        ),
        (
            {"report": None, "command": {"run": ["a"], "environment": {"DAY": "{due_dat}"}}},
            "command.environment.DAY {due_dat} is not known: did you mean due_date?; {{due_dat}} is the text {due_dat}",
        ),
        (
            {"report": None, "task": {"name": "t", "kwargs": {"day": ["{dya}"]}}, "params": {"day": 1}},
            "task.kwargs.day {dya} is not known: did you mean day?; {{dya}} is the text {dya}",
        ),
        (
            {"report": None, "command": ["a"], "params": {"run": 1}},
            "params.run cannot be a parameter: {run} is the run's id",
        ),
        (
            {"report": None, "command": {"run": ["a"], "time_limit": "0s"}},
            'command.time_limit "0s" is no time at all: leave it out, or write it like 2m',
        ),
        (
            {"ready_when": {"query": "select 1"}},
            "ready_when query needs database: the name of a PIPELINE_SOURCE_<NAME>_URL",
        ),
        ({"ready_when": {"every": "5m"}}, "ready_when needs either query (with database) or url"),
        (
            {"ready_when": {"url": "https://x.example/a"}},
            'ready_when.url "https://x.example/a": a web address cannot be waited for; a path or an fsspec URL can',
        ),
        ({"ready_when": {"url": "a", "evry": "5m"}}, "ready_when.evry is not a field here: did you mean every?"),
        ({"after": ["Nightly"]}, "after.schedules.0 \"Nightly\": string should match pattern '^[a-z][a-z0-9_]*$'"),
        ({"after": {"give_up_after": "1h"}}, "after.schedules is missing"),
    ],
)
def test_a_mistake_is_told_at_its_field_with_the_way_out(fields, answer):
    assert refusal({name: value for name, value in {"report": REPORT, **fields}.items() if value is not None}) == [
        answer
    ]


QUERY = {"database": "warehouse", "query": "select 1"}
DAILY = {"cron": "0 7 * * *"}


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("when.every", lambda length: {"when": {"every": length}}),
        ("when.jitter", lambda length: {"when": {**DAILY, "jitter": length}}),
        ("catch_up.window", lambda length: {"when": DAILY, "catch_up": {"window": length}}),
        ("deadline.start_within", lambda length: {"deadline": {"start_within": length}}),
        ("deadline.finish_within", lambda length: {"deadline": {"finish_within": length}}),
        ("time_limit", lambda length: {"time_limit": length}),
        ("lapse_after", lambda length: {"approval": "required", "lapse_after": length}),
        ("ready_when.every", lambda length: {"ready_when": {**QUERY, "every": length}}),
        ("ready_when.give_up_after", lambda length: {"ready_when": {**QUERY, "give_up_after": length}}),
        ("after.give_up_after", lambda length: {"after": {"schedules": "other", "give_up_after": length}}),
        ("message.link_for", lambda length: {"message": {"link_for": length}}),
        ("retry.deliver give_up_after", lambda length: {"retry": {"deliver": {"give_up_after": length}}}),
        ("retry.fetch time_limit", lambda length: {"retry": {"fetch": {"time_limit": length}}}),
        ("keep.days", lambda length: {"keep": {"days": length}}),
        ("command.time_limit", lambda length: {"report": None, "command": {"run": ["a"], "time_limit": length}}),
        ("task.time_limit", lambda length: {"report": None, "task": {"name": "t", "time_limit": length}}),
    ],
)
@pytest.mark.parametrize("length", [0, "0s", -1, "-5m", "soon", float("inf"), 10**12])
def test_a_length_of_time_that_cannot_be_meant_is_told_at_its_field(field, fields, length):
    wrong = {name: value for name, value in {"report": REPORT, **fields(length)}.items() if value is not None}
    (answer,) = refusal(wrong)
    assert answer.startswith(field)


@pytest.mark.parametrize("field", ["period", "report.period"])
def test_an_unknown_period_names_the_nearest(field):
    wrong = {"period": "lastweek"}
    (answer,) = refusal({"report": REPORT, **wrong} if field == "period" else {"report": {**REPORT, **wrong}})

    assert answer.startswith(f'{field} "lastweek" is not known: did you mean last_week?')


def test_an_unknown_field_of_a_retry_names_the_nearest():
    (answer,) = refusal({"report": REPORT, "retry": {"fetch": {"attemps": 5}}})

    assert answer.startswith('retry.fetch has no field "attemps": did you mean attempts?')


def test_all_mistakes_are_told_at_once():
    assert refusal({"report": {**REPORT, "titel": "x"}, "whne": "0 7 * * *", "on_empty": "no"}) == [
        "report.titel is not a field here: did you mean title?",
        "on_empty \"no\": input should be 'fail', 'skip' or 'send'",
        "whne is not a field here: did you mean when?",
    ]


@pytest.mark.parametrize("written", [None, "report", ["report"]])
def test_a_file_must_hold_fields(written):
    assert refusal(written) == ["must be a mapping of fields such as report, when, recipients"]


# ---- revisions


def test_the_same_text_has_the_same_revision_and_another_order_of_columns_another():
    definition = {"report": {**REPORT, "columns": {"a": "A", "b": "B"}}, "when": "0 7 * * *"}
    turned = {**definition, "report": {**definition["report"], "columns": {"b": "B", "a": "A"}}}

    assert schedule.revision(definition) == schedule.revision({**definition})
    assert schedule.revision(definition) != schedule.revision(turned)
    assert schedule.revision(definition) != schedule.revision({**definition, "when": "0 8 * * *"})


def test_what_was_parsed_can_be_parsed_from_json_again():
    definition = {
        "report": {**REPORT, "split_by": "k"},
        "when": "0 7 * * *",
        "recipients": [{"email": "a@b.c", "key": 1}],
    }
    found = schedule.parse(definition, PLACE)

    assert isinstance(found.report, Report)
    assert schedule.parse(definition, PLACE) == found


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"deadline": {}}, "deadline needs start_within, finish_within, or both"),
        ({"deadline": {"start_within": "soon"}}, 'deadline.start_within duration "soon" is not understood'),
        ({"deadline": {"start": "10m"}}, "deadline.start is not a field here (allowed: finish_within, start_within)"),
        ({"notify": ["ops@x.example", "nobody"]}, 'notify "nobody" is neither an e-mail address nor a webhook'),
    ],
)
def test_whom_to_tell_and_when_a_run_is_late_are_checked(said, sentence):
    with pytest.raises(DefinitionError) as refused:
        parse(**said)
    assert sentence in str(refused.value)


def test_deadlines_count_from_an_instant():
    definition = parse(deadline={"finish_within": "1h"})
    at = datetime(2026, 11, 16, 6, tzinfo=UTC)

    assert definition.deadline.after(at) == (None, at + timedelta(hours=1))
