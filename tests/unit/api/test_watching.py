"""Many watch, one looks: what has changed is told to each of them, and nobody is looked for who has gone."""

import asyncio
import json
from uuid import uuid4

import pytest

from pipeline.api import watching
from pipeline.api.watching import Watchers
from pipeline.db import transaction
from pipeline.errors import TransientError
from pipeline.models import Run
from tests.factories import finished_run, make_run

ONE, OTHER = uuid4(), uuid4()


class Stage:
    """Runs that stand as the test says, and how often they were looked at."""

    def __init__(self):
        self.stands = {ONE: {"status": "running", "over": False}, OTHER: {"status": "queued", "over": False}}
        self.looks = []

    def look(self, ids):
        self.looks.append(set(ids))
        return {one: self.stands[one] for one in ids}


async def heard(events, kind):
    """The data of the next event of this kind."""
    async for event in events:
        if event.startswith(f"event: {kind}\n"):
            return json.loads(event.partition("data: ")[2])
    raise AssertionError(f"no {kind} came")


def test_who_watches_hears_how_it_stands_what_changes_and_the_end():
    async def story():
        stage = Stage()
        watchers = Watchers(stage.look, pace=0.02)
        mine = watchers.events(ONE)
        assert (await heard(mine, "progress"))["status"] == "running"
        stage.stands[ONE] = {"status": "waiting", "over": False}
        assert (await heard(mine, "progress"))["status"] == "waiting"
        stage.stands[ONE] = {"status": "succeeded", "over": True}
        assert (await heard(mine, "end"))["status"] == "succeeded"
        with pytest.raises(StopAsyncIteration):
            await anext(mine)
        assert len(watchers) == 0

    asyncio.run(story())


def test_two_hundred_are_served_by_one_look_and_the_last_to_go_ends_it():
    async def story():
        stage = Stage()
        watchers = Watchers(stage.look, pace=0.2)
        streams = [watchers.events(ONE if number % 2 else OTHER) for number in range(200)]
        await asyncio.gather(*(heard(one, "progress") for one in streams))
        assert len(watchers) == 200
        assert len(stage.looks) < 100
        for one in streams:
            await one.aclose()
        looked = len(stage.looks)
        await asyncio.sleep(0.1)
        assert len(stage.looks) <= looked + 1

    asyncio.run(story())


def test_a_database_that_is_away_is_waited_for():
    async def story():
        stage, away = Stage(), [True]

        def look(ids):
            if away.pop():
                raise OSError("away")
            return stage.look(ids)

        away[:] = [False, True]
        assert (await heard(Watchers(look, pace=0.01).events(ONE), "progress"))["status"] == "running"

    asyncio.run(story())


def test_there_is_an_end_to_how_many_watch_and_all_are_let_go_when_the_process_ends(monkeypatch):
    monkeypatch.setattr(watching, "MOST", 1)

    async def story():
        watchers = Watchers(Stage().look, pace=0.01)
        watchers.admit()
        mine = watchers.events(ONE)
        await heard(mine, "progress")
        with pytest.raises(TransientError, match="watch already"):
            watchers.admit()
        watchers.close()
        assert [event async for event in mine if event.startswith("event")] == []

    asyncio.run(story())


def test_a_run_is_watched_over_http_to_its_end(as_):
    run = make_run(status="running")
    http = as_("read")
    with transaction() as session:
        session.get(Run, run.id).status = "succeeded"
    body = http.get(f"/api/runs/{run.id}/events")
    assert body.headers["Content-Type"].startswith("text/event-stream")
    assert body.headers["Cache-Control"] == "no-store"
    *_, last = body.text.strip().split("\n\n")
    assert last.startswith("event: end\nid: end\ndata: ")
    assert json.loads(last.partition("data: ")[2])["status"] == "succeeded"
    assert http.get(f"/api/runs/{run.id}/events", headers={"Last-Event-ID": "end"}).status_code == 204
    assert http.get("/api/runs/nothing/events").status_code == 404
    finished_run()
