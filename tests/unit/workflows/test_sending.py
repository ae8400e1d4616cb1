"""A batch on its way to a real server that is told how to behave: what arrives, and what the rows say afterwards."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace

import pytest

from pipeline import leases
from pipeline.adapters import mailer
from pipeline.db import clock, reading, transaction
from pipeline.errors import Blocked, Cancelled, PermanentError, StaleClaim, Waiting
from pipeline.handle import RunHandle
from pipeline.models import Delivery, Relay, Run, Step, Suppression, new_id
from pipeline.services import deliveries, ledger, relays, shares, steps
from pipeline.settings import settings
from pipeline.workflows.report import posting, sending
from pipeline.workflows.report.recording import Journal
from tests.factories import make_delivery, make_delivery_attempt, make_run, make_schedule, make_step
from tests.ports import free_port
from tests.smtp_server import ScriptedServer, behaviour_of, committing, smtp_server
from tests.unit.services import acts
from tests.unit.workflows.batches import events, forget, of, send, use

__all__ = ["smtp_server"]
SENDER = "Reports <reports@example.com>"


class KilledError(BaseException):
    """Stands for kill -9: nothing that is written for an Exception runs."""


class Letters:
    """Stands in for what is composed from templates and documents."""

    sender = SENDER

    def __init__(self, run):
        self.run = run

    def load(self, session, claimed):
        pass

    @property
    def can_link(self):
        return bool(settings().public_url)

    def message(self, delivery, *, linked=False):
        if "large" in delivery.address and not linked:
            return self.message(delivery, linked=True) + b"x" * 3_000
        if "deadly" in delivery.address:
            raise KilledError
        if "stopped" in delivery.address:
            self.run.ending = time.monotonic()
            raise PermanentError("templates/_base/body.html: Waiting: its worker was stopped")
        if "broken" in delivery.address:
            raise PermanentError('the template names "custmer"')
        return (
            f"From: {SENDER}\r\nTo: {delivery.address}\r\nMessage-ID: {delivery.message_id}\r\n"
            f"X-Delivery-ID: {delivery.id}\r\nSubject: Shipments\r\n\r\nHello\r\n"
        ).encode()


@pytest.fixture
def server(database, smtp_server, monkeypatch):
    """The live relay of a home whose messages are simple."""
    use(monkeypatch, MAIL="live", SMTP_URL=smtp_server.url)
    monkeypatch.setattr(sending, "Letters", Letters)
    send = mailer.Relay.send

    def noticing(relay, sender, address, data, before_dot, following=None):
        noticed = committing(relay, behaviour_of(address))
        return send(relay, sender, address, data, lambda: (before_dot(), noticed()), following)

    monkeypatch.setattr(mailer.Relay, "send", noticing)
    yield smtp_server
    mailer.close_relays()
    forget()


def make_batch(*addresses, **definition):
    make_schedule(**definition)
    run = make_run(status="running")
    make_step(run, "deliver:0", status="queued", queue="deliver", published_at=None)
    for number, address in enumerate(addresses):
        make_delivery(run, f"{address}@example.org", f"K{number}", status="queued", relay=None, reply=None)
    return run


def rows(run):
    return {one.address.partition("@")[0]: one for one in of(run)}


def statuses(run):
    return {name: row.status for name, row in rows(run).items()}


def history(run, name):
    return events(rows(run)[name])


def relay(name):
    with reading() as session:
        return session.get(Relay, name)


def name_of(server):
    return f"127.0.0.1:{server.port}"


def is_left(server):
    """Whether nobody is connected to the server, which may hear of that a moment later."""
    deadline = time.monotonic() + 60
    while server.open and time.monotonic() < deadline:
        time.sleep(0.01)
    return not server.open


def test_each_message_goes_out_once_on_one_connection(server):
    run = make_batch("ann", "bob", "cid")

    assert send(run) is None
    assert statuses(run) == {"ann": "accepted", "bob": "accepted", "cid": "accepted"}
    assert [line["recipient"] for line in server.taken()] == [
        "ann@example.org", "bob@example.org", "cid@example.org",
    ]  # fmt: skip
    assert server.connections == 1
    assert history(run, "ann") == ["dot", "accepted"]
    assert rows(run)["ann"].reply.startswith("250 2.0.0 Ok: queued as")


def test_who_is_stopped_amid_a_template_has_failed_nobody_and_begins_with_nobody(server):
    run = make_batch("ann", "stopped", "zoe")
    assert isinstance(send(run), Waiting)
    assert statuses(run) == {"ann": "queued", "stopped": "queued", "zoe": "queued"}
    assert history(run, "stopped") == []


def test_who_is_stopped_while_a_dot_is_committed_leaves_no_doubt(server, monkeypatch):
    commit = Journal.dot

    def stopped(self, *of):
        commit(self, *of)
        raise Waiting("its worker was stopped", again_in=0)

    monkeypatch.setattr(Journal, "dot", stopped)
    run = make_batch("ann", "bob")
    assert isinstance(send(run), Waiting)
    assert (statuses(run), server.taken()) == ({"ann": "queued", "bob": "queued"}, [])
    assert history(run, "ann") == ["dot", "not sent"]


def test_each_answer_is_a_row_and_none_of_them_holds_up_the_others(server):
    run = make_batch(
        "550", "451", "421+x", "dot-554", "dot-nonsense", "store-then-drop", "drop-mid-body", "broken", "ok"
    )

    send(run)
    assert statuses(run) == {
        "550": "failed", "451": "deferred", "421+x": "deferred", "dot-554": "failed", "dot-nonsense": "uncertain",
        "store-then-drop": "uncertain", "drop-mid-body": "deferred", "broken": "failed", "ok": "accepted",
    }  # fmt: skip
    causes = {name: row.cause for name, row in rows(run).items() if row.cause}
    assert causes == {
        "550": "recipient_permanent", "451": "recipient_transient", "421+x": "recipient_transient",
        "dot-554": "content", "drop-mid-body": "recipient_transient", "broken": "poison",
    }  # fmt: skip
    assert history(run, "store-then-drop") == ["dot", "uncertain"]
    assert "custmer" in rows(run)["broken"].reason
    assert rows(run)["store-then-drop"].reason == "no answer to the final dot: Connection unexpectedly closed"
    with reading() as session:
        assert [one.address for one in session.query(Suppression)] == ["550@example.org"]


def test_a_relay_that_takes_less_gets_the_message_with_links(server, monkeypatch):
    server.options["data_size_limit"] = 2_000
    run = make_batch("large", "large+later", "ok")
    send(run)
    assert statuses(run) == {"large": "failed", "large+later": "failed", "ok": "accepted"}
    row = rows(run)["large"]
    assert row.cause == "message_too_large"
    assert row.reason.startswith("the message has 3")
    assert row.reason.endswith("bytes, the relay takes 2000 (with PIPELINE_PUBLIC_URL set, its files would be links)")

    use(monkeypatch, SMTP_URL=server.url, PUBLIC_URL="https://reports.example.com")
    again = make_run(status="running")
    make_step(again, "deliver:0", status="queued", queue="deliver", published_at=None)
    make_delivery(again, "large@example.org", status="queued", relay=None, reply=None)
    send(again)
    assert statuses(again) == {"large": "accepted"}
    assert history(again, "large") == ["dot", "accepted"]


# ---- relays


def test_a_relay_that_is_down_is_left_alone_and_nothing_of_the_batch_is_burnt(server):
    run = make_batch("ann", "bob")
    server.stop()
    try:
        waits = send(run)
    finally:
        server.start()

    assert 0 < waits.again_in <= 33  # half a minute and what chance adds, of which some has passed
    assert "Connection refused" in str(waits)
    assert statuses(run) == {"ann": "queued", "bob": "queued"}
    assert acts.step(run, "deliver:0").status == "queued"


def test_the_next_relay_takes_over_within_the_batch(server, tmp_path, monkeypatch):
    second = ScriptedServer(tmp_path / "second.log").start()
    try:
        use(monkeypatch, SMTP_URL=f"smtp://127.0.0.1:{free_port()}, {second.url}")
        run = make_batch("ann", "bob")

        assert send(run) is None
    finally:
        mailer.close_relays()
        second.stop()
    assert statuses(run) == {"ann": "accepted", "bob": "accepted"}
    assert rows(run)["ann"].relay == name_of(second)
    assert server.taken() == []


def test_a_refused_login_blocks_the_relay_and_the_run_and_burns_nobody(server, monkeypatch):
    use(monkeypatch, SMTP_URL=server.url.replace("smtp://", "smtp://user:wrong@") + "?starttls=never")
    run = make_batch("ann", "bob")

    blocked = send(run)
    assert isinstance(blocked, Blocked)
    assert statuses(run) == {"ann": "queued", "bob": "queued"}
    assert (acts.reread(run).status, acts.reread(run).waiting_for) == ("waiting", "blocked")
    assert relay(name_of(server)).blocked_at is not None

    use(monkeypatch, SMTP_URL=server.url)
    assert send_again(run) is None
    assert statuses(run) == {"ann": "accepted", "bob": "accepted"}
    assert acts.reread(run).waiting_for is None


def send_again(run):
    with transaction() as session:
        session.get_one(type(acts.step(run, "deliver:0")), acts.step(run, "deliver:0").id).not_before = None
    return send(run)


def test_one_sender_that_is_refused_blocks_its_run_and_nobody_elses(server):
    server.refuse_sender = "550 5.7.60 Client does not have permissions to send as this sender"
    run = make_batch("ann")

    assert isinstance(send(run), Blocked)
    assert statuses(run) == {"ann": "queued"}
    assert relay(name_of(server)) is None or relay(name_of(server)).blocked_at is None
    assert "5.7.60" in relay(relays.of_run(run.id)).block_reason


def test_the_same_refusal_to_ten_in_a_row_blocks_the_relay(server):
    run = make_batch(*[f"553+{n:02}" for n in range(12)])

    assert isinstance(send(run), Blocked)
    assert Counter(statuses(run).values()) == {"failed": 10, "queued": 2}
    assert "in a row" in relay(name_of(server)).block_reason


def test_the_same_refusals_are_counted_over_all_processes_and_any_other_answer_ends_them(server):
    server.texts["553"] = "5.3.0 no mail from there"
    run = make_batch(*[f"553+{n:02}" for n in range(12)])
    for n, event in enumerate(["failed"] * 5 + ["accepted"] + ["failed"] * 3):
        code, text = (553, f"553 {server.texts['553']}") if event == "failed" else (250, "250 2.0.0 Ok")
        heard = make_delivery(run, f"{n}@elsewhere.example", f"E{n}", batch=1)
        make_delivery_attempt(heard, event, relay=name_of(server), code=code, text=text)

    assert isinstance(send(run), Blocked)
    # Three were heard by another process since a message was taken.
    assert Counter(one.status for one in rows(run).values() if one.batch == 0) == {"failed": 7, "queued": 5}


def test_too_much_refused_for_its_content_stops_the_run(server):
    addresses = [name for n in range(12) for name in (f"dot-554+{n}", f"ok+{n}")]
    run = make_batch(*addresses, allow_refused="30%")

    blocked = send(run)
    assert isinstance(blocked, Blocked)
    assert "are refused for their content" in str(blocked)
    found = Counter(statuses(run).values())
    assert (found["failed"], found["queued"]) == (10, 5)
    assert relay(name_of(server)).blocked_at is None


def test_a_relay_that_says_too_fast_is_slowed_down(server):
    server.texts["451"] = "4.7.1 Too many messages, slow down"
    run = make_batch("ok+1", "ok+2", "451x1", "ok+3")

    send(run)
    assert rows(run)["451x1"].cause == "throttled"
    assert statuses(run)["451x1"] == "deferred"
    assert relay(name_of(server)).pace is not None


def test_a_relay_that_falls_silent_after_every_message_costs_three_and_not_the_whole_batch(server):
    run = make_batch(*[f"store-then-drop+{n}" for n in range(9)])

    assert isinstance(send(run), Waiting)
    assert Counter(statuses(run).values()) == {"uncertain": 3, "queued": 6}


# ---- on_uncertain


@pytest.mark.parametrize(
    ("policy", "status", "taken"), [("hold", "uncertain", 1), ("resend", "deferred", 1), ("assume_sent", "accepted", 1)]
)
def test_what_nobody_can_know_is_decided_by_the_schedule(server, policy, status, taken):
    run = make_batch("store-then-drop", on_uncertain=policy)
    send(run)

    row = rows(run)["store-then-drop"]
    assert row.status == status
    assert len(server.taken()) == taken
    assert history(run, "store-then-drop") == ["dot", "uncertain"]
    assert bool(row.not_before) == (policy == "resend")


# ---- people


def test_the_brake_stops_a_batch_between_two_messages(server, monkeypatch):
    monkeypatch.setattr(sending, "LOOK", 0.0)
    run = make_batch("ann", "bob", "cid")
    deliver = posting.Post.deliver

    def pulled(self, *of):
        found = deliver(self, *of)
        with transaction() as session:
            relays.find(session, relays.ALL).stopped_at = run.created_at
        return found

    monkeypatch.setattr(posting.Post, "deliver", pulled)
    stopped = send(run)
    assert (stopped.known, statuses(run)) == (True, {"ann": "accepted", "bob": "queued", "cid": "queued"})
    assert is_left(server)  # it waited for what had been announced


def test_a_relay_that_is_stopped_amid_a_batch_is_left_to_the_next_one(server, tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "LOOK", 0.0)
    second, left, deliver = ScriptedServer(tmp_path / "second.log").start(), [], posting.Post.deliver
    use(monkeypatch, SMTP_URL=f"{server.url}, {second.url}")
    run = make_batch("ann", "bob", "cid")

    def pulled(self, delivery, share, following):
        found = deliver(self, delivery, share, following)
        with transaction() as session:
            relays.find(session, name_of(server)).stopped_at = run.created_at
        left.append(share.relay == name_of(second) and is_left(server))
        return found

    monkeypatch.setattr(posting.Post, "deliver", pulled)
    try:
        assert send(run) is None
    finally:
        mailer.close_relays()
        second.stop()
    assert (left, second.connections) == ([False, True, True], 1)


def test_copies_of_files_pass_the_brake(server, monkeypatch):
    monkeypatch.setattr(sending, "LOOK", 0.0)
    monkeypatch.setattr(Letters, "copies", lambda *_: ("file", "/reports/there.pdf"), raising=False)
    run = make_batch()
    for key in ("ACME", "BETA"):
        make_delivery(run, "file:///reports/", key, channel="file", status="queued", relay=None, reply=None)
    with transaction() as session:
        relays.find(session, relays.ALL).stopped_at = run.created_at

    assert send(run) is None
    assert [one.status for one in of(run)] == ["accepted", "accepted"]


def test_a_step_stops_at_once_whose_run_has_ended(server, monkeypatch):
    monkeypatch.setattr(sending, "LOOK", 0.0)
    run = make_batch("ann", "bob")
    deliver = posting.Post.deliver

    def ended(self, *of):
        with transaction() as session:
            session.get_one(Run, run.id).status = "failed"
        return deliver(self, *of)

    monkeypatch.setattr(posting.Post, "deliver", ended)
    assert isinstance(send(run), Cancelled)
    assert statuses(run) == {"ann": "accepted", "bob": "cancelled"}
    assert is_left(server)


def test_one_that_is_skipped_in_the_last_moment_is_not_sent_and_the_next_one_is(server, monkeypatch):
    run = make_batch("ann", "bob")
    dot = ledger.dot

    def skipped(session, delivery_id, attempt_id, name, text):
        if delivery_id == rows(run)["ann"].id:
            ledger.put(session, (Delivery.id == delivery_id,), status="skipped")
            session.commit()
        return dot(session, delivery_id, attempt_id, name, text)

    monkeypatch.setattr(ledger, "dot", skipped)
    assert send(run) is None
    assert statuses(run) == {"ann": "skipped", "bob": "accepted"}
    assert [line["recipient"] for line in server.taken()] == ["bob@example.org"]


def test_one_that_is_skipped_while_it_is_claimed_does_not_end_its_batch(server, monkeypatch):
    run = make_batch("ann", "bob")
    claim = ledger.claim

    def skipped(session, ids, attempt_id):
        if rows(run)["ann"].id in ids:
            ledger.put(session, (Delivery.key == "K0",), status="skipped")
        return claim(session, ids, attempt_id)

    monkeypatch.setattr(shares, "MOST", 1)
    monkeypatch.setattr(ledger, "claim", skipped)
    assert send(run) is None
    assert statuses(run) == {"ann": "skipped", "bob": "accepted"}


def test_who_may_get_nothing_more_is_asked_anew_however_many_were_claimed_at_once(server, monkeypatch):
    run = make_batch("ann", "bob", "cid")
    monkeypatch.setattr(sending, "LONGEST_SHARE", 0.0)
    message = Letters.message

    def complains(letters, delivery, **words):
        with transaction() as session:
            deliveries.suppress(session, "cid@example.org", "a complaint", "an operator")
        return message(letters, delivery, **words)

    monkeypatch.setattr(Letters, "message", complains)
    assert send(run) is None
    assert statuses(run) == {"ann": "accepted", "bob": "accepted", "cid": "suppressed"}


def dies(run):
    """Carry the step out until its process dies, and notice that it has."""
    claim = acts.claim(run, "deliver:0")
    with RunHandle(claim) as handle, pytest.raises(KilledError):
        sending.Sender(handle, 0).work()
    with transaction() as session:
        steps.release(session, session.get_one(Step, claim.step.id), clock(session))


def test_a_message_that_kills_whoever_makes_it_fails_alone(server):
    run = make_batch("ann", "deadly", "zoe")
    for _ in range(1 + steps.POISONOUS):  # with the first one nobody looks so closely
        dies(run)
    assert send(run) is None

    assert statuses(run) == {"ann": "accepted", "deadly": "failed", "zoe": "accepted"}
    assert rows(run)["deadly"].reason.startswith("3 processes died while they made or sent it")
    assert [line["recipient"] for line in server.taken()] == ["ann@example.org", "zoe@example.org"]


def test_who_is_killed_while_it_waits_for_a_place_dies_over_no_message(server, monkeypatch):
    def killed(seconds):
        raise KilledError

    use(monkeypatch, RATE="1/s")
    run = make_batch("ann", "bob")
    with monkeypatch.context() as patch:
        patch.setattr(sending, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=killed))
        for _ in range(1 + steps.POISONOUS):
            dies(run)
    assert statuses(run) == {"ann": "accepted", "bob": "sending"}

    send(run)
    assert statuses(run) == {"ann": "accepted", "bob": "accepted"}


@pytest.mark.parametrize(("rate", "woken"), [("60/s", {"deliver:1"}), ("", {"deliver:1", "deliver:2"})])
def test_a_batch_that_is_done_calls_those_of_its_run_that_wait_for_their_turn(server, monkeypatch, rate, woken):
    """The next one where rates limit them, all where none does any more, such as those of a relay that is not used now.

    One that has failed waits for another reason, and its tries are not to be used up.
    """
    use(monkeypatch, RATE=rate)
    run = make_batch("ann")
    with reading() as session:
        now = clock(session)
    why = "waits for its turn: other.example:25 4/s, as it asked for"
    for number, error in enumerate((why, why, "the store does not answer"), start=1):
        due = now + timedelta(minutes=number)
        step = {"status": "queued", "queue": "deliver", "not_before": due, "published_at": None, "error": error}
        make_step(run, f"deliver:{number}", **step)
    send(run)

    with reading() as session:
        called = session.query(Step).where(Step.run_id == run.id, Step.not_before < now + timedelta(seconds=50))
        assert {row.name for row in called} == woken


def test_a_process_that_slept_sends_nothing_more(server):
    run = make_batch("ann")
    claim = acts.claim(run, "deliver:0")
    with transaction() as session:
        step = session.get_one(type(claim.step), claim.step.id)
        step.fence += 1
    with RunHandle(claim) as handle, pytest.raises(StaleClaim):
        sending.send_batch(handle, 0)

    assert server.taken() == []
    assert statuses(run) == {"ann": "queued"}


def test_an_answer_that_comes_after_its_run_has_ended_ends_its_doubt_however_the_sender_hears_of_it(
    server, monkeypatch
):
    """It slept for so long that its own turn was over as well."""
    run, hand_over = make_batch("ann"), mailer.Relay.send
    make_step(run, "finish", task="report.finish", stage=2, status="pending", result={"status": "partial"})

    def send(self, sender, address, data, before_dot, *following):
        def dot():
            before_dot()
            with transaction() as session:
                ledger.recover(session, session.get_one(Run, run.id), 0, new_id())
                session.query(Step).where(Step.run_id == run.id).update({"status": "succeeded"})
                session.query(Run).update({"status": "partial", "error": "of the deliveries: 1 uncertain"})
            assert statuses(run) == {"ann": "uncertain"}
            monkeypatch.setattr(sending, "TURN", -1)

        return hand_over(self, sender, address, data, dot, *following)

    monkeypatch.setattr(mailer.Relay, "send", send)
    with RunHandle(acts.claim(run, "deliver:0")) as handle, pytest.raises(Waiting, match="their turn"):
        sending.send_batch(handle, 0)

    assert statuses(run) == {"ann": "accepted"}
    assert (acts.reread(run).status, acts.reread(run).error) == ("succeeded", None)


def test_a_cancelled_run_hears_the_answer_to_the_message_that_is_out(server, monkeypatch):
    """Interrupting it would leave a doubt where a moment's patience leaves none."""
    run, signals, hand_over = make_batch("ann", "bob"), [], mailer.Relay.send
    with RunHandle(acts.claim(run, "deliver:0")) as handle:
        keeper = leases._Keeper(handle, lambda: None)
        monkeypatch.setattr(keeper, "_signal", lambda *_: signals.append("interrupted"))

        def send(self, sender, address, data, before_dot, *following):
            def dot():
                before_dot()
                handle.cancelled, keeper._cancelled_at = "cancelled by anna", -leases.INTERRUPT
                keeper._look()

            return hand_over(self, sender, address, data, dot, *following)

        monkeypatch.setattr(mailer.Relay, "send", send)
        with pytest.raises(Cancelled):
            sending.send_batch(handle, 0)
        assert signals == []
        keeper._look()
        assert signals == ["interrupted"]

    assert statuses(run) == {"ann": "accepted", "bob": "queued"}
