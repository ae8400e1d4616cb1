from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipeline import schedule
from pipeline.authoring import homes, schema
from pipeline.errors import DefinitionError
from tests.unit.authoring.json_schema import faults

ROOT = Path(__file__).parents[3]
SOURCE = {"title": "T", "database": "d", "sql": "select 1"}

RIGHT = {
    "the smallest": {"report": SOURCE},
    "a report of another file": {"report": "shipments", "when": "0 7 * * mon"},
    "a workflow": {"workflow": "import_all", "params": {"day": None, "n": 3, "x": 1.5, "on": True}},
    "several sources": {
        "report": {"title": "T", "sources": {"a": {"url": "a.csv"}, "b": {"url": "https://x/", "format": "json"}}}
    },
    "people by number": {"report": {**SOURCE, "split_by": "id"}, "recipients": [{"key": 7, "email": "me@example.com"}]},
    "a program": {"command": ["/opt/bin/rotate.sh", "--day", "{due_date}", 7]},
    "a program with more": {
        "command": {"run": ["a"], "cwd": "work", "environment": {"N": 1, "T": "$T"}, "time_limit": "2h"}
    },
    "a task": {"task": "myapp.tasks.nightly", "after": "import"},
    "a task with more": {"task": {"name": "t", "args": [1], "kwargs": {"a": [None]}, "queue": "q", "time_limit": 60}},
    "waiting for data": {"task": "t", "ready_when": {"database": "d", "query": "select 1", "every": 30}},
    "waiting for a file": {"task": "t", "ready_when": {"url": "in/{due_date}.csv", "otherwise": "skip"}},
    "waiting for others": {"task": "t", "after": ["a", "b"]},
    "waiting for others, with more": {"task": "t", "after": {"schedules": "a", "give_up_after": "1h"}},
    "a workflow's own retries": {"workflow": "w", "retry": {"download": {"ceiling": 30, "jitter": 0}}},
}
OF_A_REPORT = {
    "a year as the period": {"period": 2013},
    "one format": {"formats": "xlsx"},
    "columns by name": {"columns": ["a", "b"]},
    "columns with labels": {"columns": {"a": "A", "b": {"label": "B", "total": "sum"}, "c": None}},
    "a chart of one column": {"chart": {"x": "a", "y": "b"}},
}
OF_A_SCHEDULE = {
    "cron with its zone": {"when": {"cron": "0 7 * * *", "timezone": "Europe/Berlin", "gap": "skip"}},
    "every": {"when": {"every": "15m"}},
    "a kind of days": {"when": {"cron": "0 7 * * *", "except_on": "holidays:DE-BY", "on_holiday": "before"}},
    "several kinds": {"when": {"every": "1h", "except_on": ["sat", {"holidays": "DE"}, "2026-12-24"]}},
    "a day of the month": {"when": {"cron": "0 7 * * *", "day": "last_business_day", "only_on": None}},
    "at one instant": {"when": {"at": "2026-11-16T07:00"}},
    "at several": {"when": {"at": ["2026-11-16T07:00", "2026-11-17T07:00"]}},
    "a year for this schedule": {"period": 2013},
    "one address": {"recipients": "me@example.com"},
    "addresses and people": {"recipients": ["me@example.com", {"email": "you@example.com", "name": "You"}]},
    "a query": {"recipients": {"database": "d", "query": "select email from people"}},
    "a file": {"recipients": {"file": "people.csv"}},
    "subscribers": {"recipients": "subscriptions", "message": {"unsubscribe": False}},
    "subscribers and a query": {"recipients": {"database": "d", "query": "select 1", "subscriptions": True}},
    "subscribers and people": {"recipients": {"people": ["me@example.com"], "subscriptions": True}},
    "the long form": {"recipients": {"people": [{"email": "me@example.com"}]}},
    "a sender": {"message": {"from": "Me <me@example.com>", "reply_to": "you@example.com", "attach": "pdf"}},
    "one folder": {"deliver_to": "file:///reports/{period}/"},
    "one webhook": {"deliver_to": {"webhook": "hook:shop", "secret": "$SHOP", "link_above": "5MB", "attach": "pdf"}},
    "several places": {
        "deliver_to": ["/a/", {"folder": "s3://b/", "overwrite": True}, {"webhook": "https://x.example"}]
    },
    "a share": {"allow_failed": "2.5%", "on_empty": "skip"},
    "retries": {"retry": {"fetch": {"attempts": 8, "first": "1m", "give_up_after": None}, "deliver": {"factor": 1.5}}},
}
RIGHT |= {name: {"report": {**SOURCE, **fields}} for name, fields in OF_A_REPORT.items()}
RIGHT |= {name: {"report": SOURCE, **fields} for name, fields in OF_A_SCHEDULE.items()}
WRONG = {
    "a field that is none": {"report": SOURCE, "whenn": "0 7 * * *"},
    "a field of the report that is none": {"report": {**SOURCE, "format": "pdf"}},
    "no title": {"report": {"database": "d", "sql": "select 1"}},
    "a format that is none": {"report": {**SOURCE, "formats": ["docx"]}},
    "a name with a capital": {"workflow": "Import"},
    "recipients by half": {"report": SOURCE, "recipients": {"query": "select 1"}},
    "a retry's field that is none": {"report": SOURCE, "retry": {"fetch": {"tries": 3}}},
    "a number of days": {"report": SOURCE, "when": {"cron": "0 7 * * *", "only_on": [5]}},
    "a policy that is none": {"report": SOURCE, "on_empty": "shout"},
    "no command": {"command": []},
    "a command line": {"command": "rotate.sh --day 1"},
    "a circle's end": {"task": "t", "after": {"schedules": ["a"], "otherwise": "wait"}},
    "text for a number": {"report": {**SOURCE, "chart": {"x": "a", "y": "b", "limit": "many"}}},
}


def told(definition: object) -> list[str]:
    made = schema.json_schema()
    return list(faults(definition, made, made))


@pytest.mark.parametrize("definition", RIGHT.values(), ids=RIGHT)
def test_what_the_pipeline_reads_the_editor_accepts(definition):
    schedule.parse(definition, "schedules/s.yaml")
    assert told(definition) == []


@pytest.mark.parametrize("definition", WRONG.values(), ids=WRONG)
def test_what_the_pipeline_refuses_the_editor_marks(definition):
    with pytest.raises(DefinitionError):
        schedule.parse(definition, "schedules/s.yaml")
    assert told(definition)


def test_every_field_is_explained():
    made = schema.json_schema()
    for field, said in made["properties"].items():
        assert said.get("description"), field


def test_the_committed_schema_is_current():
    committed = (ROOT / "docs" / schema.FILE).read_text(encoding="utf-8")
    assert committed == schema.text(), "run `pipeline schema > docs/schedule.schema.json`"


FILES = [*sorted((ROOT / "schedules").glob("*.yaml")), *sorted((homes.STARTER / "schedules").glob("*.yaml"))]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_shipped_files_name_the_schema_and_fit_it(path):
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named, f"{path.name} begins without the line that editors look for"
    if path.is_relative_to(ROOT / "schedules"):
        assert (path.parent / named[1]).resolve() == ROOT / "docs" / schema.FILE
    assert told(yaml.safe_load(text)) == []
