"""What a sender may have next of its batch: as much as rates, relays and people allow."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.db import transaction
from pipeline.models import Attempt, Delivery, Notice, new_id
from pipeline.rates import Pace, parse
from pipeline.services import blocks, braking, ledger, rationing, relays, runs, shares
from pipeline.services.audit import Actor
from pipeline.services.rationing import Lent
from pipeline.services.shares import Way
from tests.factories import make_run, make_step
from tests.unit.services import acts
from tests.unit.services.sent import queued, read, write

pytestmark = pytest.mark.usefixtures("time")
RELAY = "relay.example:25"


@pytest.fixture
def run(time):
    return make_run(status="running")


@pytest.fixture
def attempt():
    return new_id()


def way(rates="", *others):
    return Way(dict.fromkeys((RELAY, *others), "aaaa"), parse(rates), lambda address: address)


def take(run, attempt, rates="", *others, batch=0):
    with transaction() as session:
        return shares.take(session, run.id, batch, attempt, way(rates, *others))


def addresses(share):
    return [(delivery.address, round(share.lent.free_at(delivery.id), 3)) for delivery in share.deliveries]


def times(share):
    """When each may begin, if none takes any time."""
    found = []
    for one in share.deliveries:
        found.append(round(share.lent.free_at(one.id), 3))
        share.lent.ended(one.id, found[-1])
    return found


def give_places_back(share, attempt, elapsed=0.0):
    write(rationing.take_back, share.lent, attempt, elapsed)


def people(run, count, domain="x.example", batch=0):
    return [queued(run, f"p{n:02}@{domain}", key=f"{batch}{n:02}", batch=batch) for n in range(count)]


def give_back(run, attempt):
    write(ledger.requeue, run.id, 0, attempt)


# ---- without limits


def test_a_batch_is_taken_in_shares_until_nothing_is_left(run, attempt, monkeypatch):
    monkeypatch.setattr(shares, "MOST", 2)
    made = people(run, 3)

    first = take(run, attempt)
    assert addresses(first) == [("p00@x.example", 0), ("p01@x.example", 0)]
    assert first.relay == RELAY
    assert addresses(take(run, attempt)) == [("p02@x.example", 0)]
    last = take(run, attempt)
    assert (last.deliveries, last.pause) == ((), None)
    assert {read(one).status for one in made} == {"sending"}


def test_files_need_no_relay(run, attempt):
    people(run, 1)
    folder = queued(run, "file:///reports/", channel="file")
    write(relays.find, RELAY)
    write(lambda session: setattr(relays.find(session, RELAY), "stopped_at", run.created_at))

    share = take(run, attempt)
    assert [one.id for one in share.deliveries] == [folder.id]
    assert take(run, attempt).pause.blocked


# ---- rates


def at_work(run):
    """The attempt of a sender that is at work."""
    name = f"deliver:{new_id()}"
    make_step(run, name, status="running", attempts=("running",))
    return acts.attempts(run, name)[0].id


def test_two_workers_share_one_rate(run):
    people(run, 6)
    people(run, 6, batch=1)

    first = at_work(run)
    share = take(run, first, "4/m")
    assert addresses(share) == [(f"p0{n}@x.example", 0) for n in range(4)]
    # What the first one has it gives back within two seconds.
    assert take(run, at_work(run), "4/m", batch=1).pause.seconds == 2

    times(share)
    give_places_back(share, first)
    assert take(run, at_work(run), "4/m").pause.seconds == 60


def test_who_finds_no_place_says_for_what_it_waits(run):
    people(run, 1)
    people(run, 1, batch=1)
    first = at_work(run)
    share = take(run, first, "1/m")
    times(share)
    give_places_back(share, first)

    pause = take(run, at_work(run), "1/m", batch=1).pause
    assert (pause.why, pause.seconds) == ("waits for its turn: relay.example:25 1/m", 60)


def test_a_sender_keeps_the_pace_as_long_as_it_has_its_places(run, attempt):
    people(run, 9)

    share = take(run, attempt, "2/s")
    assert times(share) == [0, 0, 1, 1, 2, 2]
    give_places_back(share, attempt, elapsed=2.0)
    # Of those that are left it has not been said that they wait: the same sender asks again.
    again = take(run, attempt, "2/s")
    assert times(again) == [1, 1, 2]


def test_a_place_is_free_a_window_after_its_message_has_ended_however_long_that_took(run, time):
    people(run, 2)
    first = at_work(run)
    share = take(run, first, "1/s")
    share.lent.ended(share.deliveries[0].id, 5.0)
    write(ledger.requeue, run.id, 0, first)
    time.passes(seconds=5)
    give_places_back(share, first, elapsed=5.0)

    assert take(run, at_work(run), "1/s").lent.pace.free_at(["relay.example:25 1/s"]) == 1


def test_what_a_process_had_that_died_counts_as_used_until_it_is_known_to_be_dead(run, time):
    people(run, 3)
    died = at_work(run)
    assert len(take(run, died, "2/m").deliveries) == 2
    write(ledger.requeue, run.id, 0, died)
    time.passes(minutes=5)
    assert take(run, at_work(run), "2/m").pause.seconds == 2

    write(lambda session: setattr(session.get(Attempt, died), "outcome", "abandoned"))
    time.passes(seconds=3)
    assert take(run, at_work(run), "2/m").pause.seconds == 60
    # Its late word changes nothing any more.
    lent = Lent({f"{RELAY} 2/m": parse("2/m")[0]}, Pace({f"{RELAY} 2/m": 60}, {f"{RELAY} 2/m": [0, 0]}), {})
    write(rationing.take_back, lent, died, 0.0)
    assert take(run, at_work(run), "2/m").pause.seconds == 60


@pytest.mark.parametrize(
    ("rate", "its", "left"),
    [
        pytest.param("6/s", [0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1], id="each several times"),
        pytest.param("6/h", [0, 0, 0, 0, 3600], [0, 0], id="each once, as long as it has them"),
    ],
)
def test_a_sender_takes_no_more_places_than_it_can_use(run, rate, its, left):
    people(run, 9)
    people(run, 9, batch=1)

    slow, first = Way({RELAY: "aaaa"}, parse(rate), str, each={RELAY: 0.5}), at_work(run)
    with transaction() as session:
        share = shares.take(session, run.id, 0, first, slow)
    assert times(share)[: len(its)] == its
    assert times(take(run, at_work(run), rate, batch=1))[: len(left)] == left


def test_what_waits_stays_queued_with_its_time_and_comes_when_it_is_due(run, attempt, time):
    made = people(run, 3)
    share = take(run, attempt, "2/m")
    times(share)
    give_places_back(share, attempt)

    waiting = read(made[2])
    assert (waiting.status, waiting.not_before) == ("queued", time.now + timedelta(minutes=1))
    time.passes(minutes=1)
    assert addresses(take(run, attempt, "2/m")) == [("p02@x.example", 0)]


def test_what_a_server_had_turned_away_waits_for_its_rate_as_the_others_do(run, time):
    people(run, 1)
    late = queued(run, "late@x.example", batch=1)
    write(lambda session: ledger.put(session, (Delivery.id == late.id,), status="deferred", not_before=time.now))
    first = at_work(run)
    share = take(run, first, "1/h")
    times(share)
    give_places_back(share, first)

    assert take(run, at_work(run), "1/h", batch=1).pause.seconds == 3600
    assert (read(late).status, read(late).not_before) == ("queued", time.now + timedelta(hours=1))


def test_a_slow_domain_does_not_hold_up_the_others(run, attempt, monkeypatch):
    monkeypatch.setattr(shares, "MOST", 3)
    for n, domain in enumerate(("gmail.com", "Gmail.com", "gmail.com", "x.example", "y.example")):
        queued(run, f"p{n}@{domain}", key=str(n))

    assert addresses(take(run, attempt, "gmail.com 1/m")) == [
        ("p0@gmail.com", 0), ("p3@x.example", 0), ("p4@y.example", 0),
    ]  # fmt: skip
    assert take(run, attempt, "gmail.com 1/m").pause.seconds == 60


def test_who_falls_under_no_rate_has_no_place_of_it_to_give_back(run, attempt):
    people(run, 2)
    assert take(run, attempt, "gmail.com 1/m").lent.rates == {}
    write(ledger.requeue, run.id, 0, attempt)
    queued(run, "zoe@gmail.com", key="zz")
    assert [str(rate) for rate in take(run, attempt, "gmail.com 1/m, gmx.net 1/m").lent.rates.values()] == [
        "gmail.com 1/m"
    ]


def test_a_rate_of_one_relay_is_not_that_of_another(run, attempt):
    people(run, 3)

    assert len(take(run, attempt, "other.example 1/h, relay.example 2/h").deliveries) == 2


def test_all_rates_hold_at_once(run, attempt):
    people(run, 9)

    share = take(run, attempt, "5/s, 4/m, 3/h")
    assert times(share) == [0, 0, 0]
    give_places_back(share, attempt)
    assert take(run, attempt, "5/s, 4/m, 3/h").pause.seconds == 3600


def test_steps_that_wait_for_room_come_one_after_the_other(run, time):
    people(run, 10)
    before = new_id()
    share = take(run, before, "10/m")
    times(share)
    give_places_back(share, before)
    for n in (1, 2):
        people(run, 10, batch=n)
    first = take(run, new_id(), "10/m", batch=1).pause
    make_step(run, "deliver:1", status="queued", queue="deliver", not_before=time.now + timedelta(seconds=60))
    second = take(run, new_id(), "10/m", batch=2).pause

    assert (first.seconds, second.seconds) == (60, 120)


def test_steps_that_find_all_places_with_others_ask_again_soon_however_rare_the_rate(run, time):
    people(run, 1)
    assert len(take(run, at_work(run), "1/s, 2/m").deliveries) == 1
    for n in (1, 2, 3):
        people(run, 1, batch=n)
        pause = take(run, at_work(run), "1/s, 2/m", batch=n).pause
        assert pause.seconds == 2 * n
        due = time.now + timedelta(seconds=pause.seconds)
        make_step(run, f"deliver:{n}", status="queued", queue="deliver", not_before=due)


def waits(run, number, due, why="waits for its turn: relay.example:25 1/m"):
    """A step that is to look again when it is `due`."""
    make_step(run, f"deliver:{number}", status="queued", queue="deliver", not_before=due, published_at=None, error=why)


def test_a_worker_that_starts_with_other_rates_waits_no_longer_by_the_old_ones(run, time):
    people(run, 3)
    first = at_work(run)
    share = take(run, first, "1/h")
    times(share)
    give_places_back(share, first)
    due = time.now + timedelta(seconds=take(run, at_work(run), "1/h").pause.seconds)
    assert due > time.now + timedelta(minutes=30)
    waits(run, 0, due)
    waits(run, 1, due, "the store does not answer")
    write(shares.look_again, time.now)

    assert acts.step(run, "deliver:0").not_before == time.now
    assert acts.step(run, "deliver:1").not_before == due  # it has failed: that is another wait
    assert len(take(run, at_work(run), "100/s").deliveries) == 2


def test_what_has_no_room_at_a_relay_waits_for_it_and_goes_by_the_next_one_once_that_is_used(run, time):
    relays_and_rates = ("relay.example 1/d, gmail.com 1/h", "next.example:25")
    people(run, 2)
    people(run, 2, "gmail.com")
    first = at_work(run)
    share = take(run, first, *relays_and_rates)
    times(share)
    give_places_back(share, first)
    assert take(run, at_work(run), *relays_and_rates).pause.seconds == 86400

    write(lambda session: setattr(relays.find(session, RELAY), "stopped_at", time.now))
    share = take(run, at_work(run), *relays_and_rates)
    assert (share.relay, len(share.deliveries)) == ("next.example:25", 2)


@pytest.fixture
def with_the_next_one(run, time):
    """Three people, of whom one had room at the next relay while the first was down; the others wait there."""
    relays_and_rates = ("next.example:25 1/d", "next.example:25")
    people(run, 3)
    write(relays.failed, RELAY, "Connection refused", time.now)
    first = at_work(run)
    share = take(run, first, *relays_and_rates)
    assert (share.relay, len(share.deliveries)) == ("next.example:25", 1)
    times(share)
    give_places_back(share, first)
    return relays_and_rates


def test_what_has_no_room_at_the_next_relay_tries_the_first_one_as_soon_as_it_may_be_back(run, time, with_the_next_one):
    assert take(run, at_work(run), *with_the_next_one).pause.seconds == 30

    time.passes(seconds=30)
    share = take(run, at_work(run), *with_the_next_one)
    assert (share.relay, share.probe, len(share.deliveries)) == (RELAY, True, 1)
    assert take(run, at_work(run), *with_the_next_one).pause.seconds == 30  # one tries, others wait for that
    write(relays.answered, RELAY, time.now)
    assert len(take(run, at_work(run), *with_the_next_one).deliveries) == 1


def test_what_has_no_room_at_the_next_relay_goes_by_the_first_one_once_a_person_lets_it(run, with_the_next_one):
    assert take(run, at_work(run), *with_the_next_one).pause
    write(braking.start, Actor("anna", "cli"), RELAY)
    share = take(run, at_work(run), *with_the_next_one)
    assert (share.relay, len(share.deliveries)) == (RELAY, 2)


def test_what_a_server_turned_away_keeps_its_time_whichever_relay_is_used(run, time, with_the_next_one):
    later = time.now + timedelta(hours=1)
    write(lambda session: ledger.put(session, (Delivery.status == "queued",), status="deferred", not_before=later))
    write(relays.answered, RELAY, time.now)
    share = take(run, at_work(run), *with_the_next_one)
    assert (share.deliveries, share.pause) == ((), None)


def test_a_relay_is_tried_with_a_message_that_has_room(run, attempt, time):
    queued(run, "ann@gmail.com")
    first = at_work(run)
    share = take(run, first, "gmail.com 1/d")
    times(share)
    give_places_back(share, first)
    queued(run, "bea@gmail.com")
    people(run, 2, "y.example")
    write(relays.failed, RELAY, "Connection refused", time.now)
    time.passes(seconds=30)

    share = take(run, at_work(run), "gmail.com 1/d")
    assert ([one.address for one in share.deliveries], share.probe) == (["p00@y.example"], True)


def test_who_waits_for_a_rate_of_a_relay_that_a_person_stops_looks_for_another(run, time):
    waits(run, 0, time.now + timedelta(days=1))
    write(braking.stop, Actor("anna", "cli"), RELAY, "its provider has a bad day")
    assert acts.step(run, "deliver:0").not_before == time.now


def test_a_throttled_relay_gets_less_until_it_recovers(run, attempt, time):
    people(run, 9)
    write(relays.throttled, RELAY, 4.0, time.now)

    assert times(take(run, at_work(run))) == [0, 0, 1, 1, 2, 2]
    assert "as it asked for" in take(run, at_work(run)).pause.why


# ---- relays and people


def test_a_relay_that_may_be_back_is_tried_with_one_message(run, attempt, time):
    people(run, 3)
    write(relays.failed, RELAY, "Connection refused", time.now)
    assert take(run, attempt).pause.down_since == time.now

    time.passes(seconds=30)
    share = take(run, attempt)
    assert (len(share.deliveries), share.probe) == (1, True)
    write(relays.answered, RELAY, time.now)
    assert len(take(run, attempt).deliveries) == 2


def test_a_blocked_run_goes_on_by_itself_once_its_cause_is_gone(run, attempt, time):
    people(run, 1)
    write(relays.block, RELAY, "535 bad password", time.now, fingerprint="aaaa")
    pause = take(run, attempt).pause
    assert (pause.blocked, pause.stopped, pause.why) == (True, False, f"relay {RELAY} is blocked: 535 bad password")
    write(lambda session: blocks.block(session, runs.lock(session, run.id), pause.why, tell=True))
    assert (acts.reread(run).status, acts.reread(run).waiting_for) == ("waiting", "blocked")
    with transaction() as session:
        assert [row.kind for row in session.query(Notice)] == ["run_blocked"]

    with transaction() as session:
        other_password = Way({RELAY: "bbbb"}, (), lambda address: address)
        assert len(shares.take(session, run.id, 0, attempt, other_password).deliveries) == 1
    assert (acts.reread(run).status, acts.reread(run).error) == ("running", None)


def test_a_worker_that_starts_has_what_is_blocked_look_again(run, time):
    later = time.now + timedelta(minutes=15)
    make_step(run, "deliver:0", status="queued", queue="deliver", not_before=later, published_at=None)
    write(lambda session: blocks.block(session, runs.lock(session, run.id), "relay x is blocked", tell=False))
    other = make_run("monthly", status="running")
    make_step(other, "deliver:0", status="queued", queue="deliver", not_before=later, published_at=None)
    write(blocks.look_again, time.now)

    assert acts.step(run, "deliver:0").not_before == time.now
    assert acts.step(other, "deliver:0").not_before == later


# ---- webhooks


HOOKS = {"hook:shop": ("https://shop.example", "aaaa")}


def take_hooks(run, attempt, rates=""):
    with transaction() as session:
        return shares.take(session, run.id, 0, attempt, Way({RELAY: "aaaa"}, parse(rates), str, HOOKS))


def test_a_webhook_is_taken_by_its_own_server_whatever_the_relays_and_their_rates_do(run, attempt):
    for n in range(3):
        queued(run, "hook:shop", key=f"{n}", channel="webhook")
    write(lambda session: setattr(relays.find(session, RELAY), "stopped_at", run.created_at))

    share = take_hooks(run, attempt, "1/h")
    assert (share.relay, len(share.deliveries)) == ("https://shop.example", 3)


def test_a_rate_that_names_the_webhooks_host_is_kept(run, attempt):
    for n in range(3):
        queued(run, "hook:shop", key=f"{n}", channel="webhook")

    assert len(take_hooks(run, attempt, "20/s, shop.example 2/h").deliveries) == 2
    waits = take_hooks(run, attempt, "20/s, shop.example 2/h").pause
    assert waits.why == "waits for its turn: shop.example 2/h"


def test_a_webhook_that_is_down_says_so_once_and_stops_no_mail(run, attempt):
    queued(run, "hook:shop", key="0", channel="webhook")
    server = "https://shop.example"
    write(relays.failed, server, f"webhook {server} cannot be reached: timed out", run.created_at)

    pause = take_hooks(run, attempt).pause
    assert pause.why == "webhook https://shop.example is down: cannot be reached: timed out"
    people(run, 1, batch=1)
    assert len(take(run, attempt, batch=1).deliveries) == 1
