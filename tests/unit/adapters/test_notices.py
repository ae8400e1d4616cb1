"""A notice in words, in the shape that its target takes, over a real relay and a real webhook."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pipeline.adapters import notices
from pipeline.adapters.messages.signing import signer
from pipeline.adapters.notices import words
from pipeline.errors import DefinitionError, PermanentError, TransientError
from pipeline.notice import Kind, Letter, Shape, Target, Tone, Words, target
from pipeline.services.notices.context import NAMES
from pipeline.settings import settings
from tests.unit.adapters.test_messages_signing import pem
from tests.webhook import webhook

__all__ = ["webhook"]
AGAIN = (
    "It does not heal by itself. Once mended, `pipeline rerun 01995f2a-0001` does again what failed. "
    "The next run is due Mon 23 Nov 2026."
)
MONDAY = datetime(2026, 11, 16, 6, tzinfo=UTC)
FACTS = {
    "schedule": "shipments",
    "period": "2026-W46",
    "run": "01995f2a-0001",
    "due": "Mon 16 Nov 2026 at 07:00:00 Berlin time",
    "reason": "fetch: the warehouse is away",
}
FAILED = Words(
    "run_failed",
    "Failed: shipments",
    "It failed.\n\nNobody got <anything> & *more*.",
    "pipeline show 0199",
    {"run": "0199"},
)
WELL = Words("recovered", "Recovered: shipments", "It is well again.", "pipeline show 0200", {})
ID = UUID("01995f2a-0000-7000-8000-000000000001")


def letter(*said, more=()):
    return Letter(
        ID, said or [FAILED], list(more), "matter-1", "You are told because PIPELINE_NOTIFY names you.", MONDAY
    )


def put(kind="run_failed", **facts):
    return notices.put(kind, {**dict.fromkeys(NAMES), **FACTS, **facts}, {})


def write(home, name, text):
    path = home / "templates" / "_notices" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# ---- words


def test_it_says_what_failed_who_is_affected_whether_it_heals_and_what_to_type(home):
    said = put(
        affected="Of 20 deliveries 19 were handed over and 1 did not go out (anna@acme.example).",
        next_due="Mon 23 Nov 2026",
    )

    assert said.title == "Failed: shipments for 2026-W46"
    assert said.text.split("\n\n") == [
        "shipments for 2026-W46, due Mon 16 Nov 2026 at 07:00:00 Berlin time, failed: fetch: the warehouse is away",
        "Of 20 deliveries 19 were handed over and 1 did not go out (anna@acme.example).",
        AGAIN,
    ]
    assert said.command == "pipeline show 01995f2a-0001"


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.DIGEST}))
def test_every_kind_has_words_with_little_and_with_much_known(home, kind):
    little = dict.fromkeys(("schedule", "run", "due", "reason", "since", "deadline", "name", "count"), "something")
    much = dict.fromkeys(NAMES, "something") | {"times": 3}
    for facts in (little, much):
        said = notices.put(kind, {**dict.fromkeys(NAMES), **facts}, {})
        assert said.title
        assert said.command.startswith("pipeline ") or facts is much
        assert "None" not in said.title + said.text
        assert "  " not in said.text


def test_every_folder_of_words_belongs_to_a_kind():
    assert {path.name for path in words.shipped().iterdir()} - {"_mail"} <= set(Kind)


def test_an_installed_wheel_has_the_words_inside_the_package(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages" / "pipeline"
    (installed / "_notice_templates").mkdir(parents=True)
    monkeypatch.setattr(words.pipeline, "__file__", str(installed / "__init__.py"))

    assert words.shipped() == installed / "_notice_templates"


def test_a_home_says_it_in_its_own_words_one_by_one(home):
    write(home, "run_failed/subject.txt", "ACHTUNG {{ schedule }}")

    assert put().title == "ACHTUNG shipments"
    assert put().text.startswith("shipments for 2026-W46")


def test_a_mistake_in_a_homes_own_words_keeps_nobody_from_hearing(home, capsys):
    write(home, "run_failed/subject.txt", "{{ shedule }}")

    assert put().title == "Failed: shipments for 2026-W46"


def test_a_kind_without_words_is_told_in_plain_ones(home):
    said = put("from_the_future", reason="nobody knows")

    assert said.title == "From the future"
    assert "reason: nobody knows" in said.text


# ---- shapes


def test_slack_gets_blocks_in_which_nothing_calls_anybody(home, webhook):
    sent = Words("run_failed", "Failed: <!channel>", "a & b", "pipeline show", {})
    notices.send(target(f"slack+{webhook.url}/services/T1"), letter(sent))

    body = webhook.requests[0].json
    assert body["text"] == "Failed: &lt;!channel&gt;"
    assert [block["type"] for block in body["blocks"]] == ["section", "section", "context"]
    assert body["blocks"][0]["text"]["text"] == ":red_circle: *Failed: &lt;!channel&gt;*"
    assert body["blocks"][1]["text"]["text"] == "a &amp; b"


def test_slack_takes_fifty_blocks_and_three_thousand_characters(home, webhook):
    many = [Words("run_failed", "x" * 4000, "y" * 4000, "pipeline show", {})] * 40
    notices.send(target(f"slack+{webhook.url}"), letter(*many, more=["one"]))

    blocks = webhook.requests[0].json["blocks"]
    assert len(blocks) == 50
    assert max(len(block["text"]["text"]) for block in blocks if "text" in block) == 3000
    assert blocks[-1]["elements"][0]["text"] == "and 1 more: `pipeline notices`"


def test_teams_gets_an_adaptive_card_whose_text_is_taken_literally(home, webhook):
    notices.send(target(f"teams+{webhook.url}"), letter(FAILED, WELL))

    body = webhook.requests[0].json
    (attachment,) = body["attachments"]
    assert body["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    texts = [part["text"] for part in attachment["content"]["body"]]
    assert texts[:4] == ["Failed: shipments", "It failed.", r"Nobody got <anything> & \*more\*.", "pipeline show 0199"]
    assert attachment["content"]["body"][0]["color"] == "Attention"
    assert attachment["content"]["body"][4]["color"] == "Good"


def test_anybody_else_gets_json_with_a_key_that_stays_the_same(home, webhook):
    for _ in range(2):
        notices.send(target(f"{webhook.url}/in?token=1"), letter(FAILED))

    first, second = webhook.requests
    assert (first.path, first.body) == ("/in?token=1", second.body)
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == str(ID)
    assert first.json["notices"][0] == {
        "kind": "run_failed", "tone": "bad", "title": "Failed: shipments", "text": FAILED.text,
        "command": "pipeline show 0199", "run": "0199",
    }  # fmt: skip
    assert (first.json["id"], first.json["at"], first.json["more"]) == (str(ID), MONDAY.isoformat(), [])


def test_a_webhook_by_name_is_looked_up_when_it_is_called(home, webhook, monkeypatch):
    with pytest.raises(TransientError, match='webhook "ops" is not known: set PIPELINE_HOOK_OPS_URL'):
        notices.send(target("hook:ops"), letter())
    monkeypatch.setenv("PIPELINE_HOOK_OPS_URL", f"slack+{webhook.url}/secret")
    notices.send(target("hook:ops"), letter())

    assert (webhook.requests[0].path, webhook.requests[0].json["text"]) == ("/secret", "Failed: shipments")
    monkeypatch.setenv("PIPELINE_HOOK_OPS_URL", "nonsense")
    with pytest.raises(TransientError, match=r"PIPELINE_HOOK_OPS_URL: .*is neither an e-mail address nor a webhook"):
        notices.send(target("hook:ops"), letter())


def test_a_webhook_that_is_nearly_known_is_suggested(home, monkeypatch):
    monkeypatch.setenv("PIPELINE_HOOK_OPS_URL", "https://x.example/1")
    with pytest.raises(DefinitionError, match="did you mean hook:ops"):
        settings().hook("opps")


# ---- a webhook's answers


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503])
def test_a_webhook_in_trouble_is_tried_again(home, webhook, code):
    webhook.answer(code, "not now")

    with pytest.raises(TransientError, match=f"json webhook 127.0.0.1 …hook answered {code} not now"):
        notices.send(target(f"{webhook.url}/hook"), letter())


@pytest.mark.parametrize("code", [301, 400, 403, 404, 410])
def test_a_webhook_that_refuses_is_not(home, webhook, code):
    webhook.answer(code, "no_service")

    with pytest.raises(PermanentError, match=f"answered {code} no_service"):
        notices.send(target(webhook.url), letter())


def test_what_it_asks_for_is_granted(home, webhook):
    webhook.answer(429, Retry_After="120")

    with pytest.raises(TransientError) as refused:
        notices.send(target(webhook.url), letter())
    assert refused.value.retry_after == 120


def test_teams_says_200_to_what_it_did_not_take(home, webhook):
    webhook.answer(200, "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429")

    with pytest.raises(TransientError):
        notices.send(target(f"teams+{webhook.url}"), letter())


def test_nobody_there_is_tried_again_and_its_path_is_not_told(home, webhook):
    webhook.stop()

    with pytest.raises(TransientError, match=r"json webhook 127.0.0.1 …cret does not answer: ") as refused:
        notices.send(target(f"{webhook.url}/very/secret"), letter())
    assert "very" not in str(refused.value)


def test_one_that_does_not_answer_in_time_is_tried_again(home, webhook, monkeypatch):
    monkeypatch.setattr(notices.sending, "PATIENCE", 0.2)
    webhook.slow = 30.0

    with pytest.raises(TransientError, match="does not answer"):
        notices.send(target(webhook.url), letter())


# ---- mail


@pytest.fixture
def live(home, smtp_server, monkeypatch):
    monkeypatch.setenv("PIPELINE_SMTP_URL", smtp_server.url)
    monkeypatch.setenv("PIPELINE_MAIL", "live")
    settings.cache_clear()
    return smtp_server


def read(content):
    return email.message_from_bytes(content, policy=email.policy.default)


def test_a_mail_holds_text_and_a_page_and_the_same_id_on_every_attempt(live):
    for _ in range(2):
        answer = notices.send(target("ops@example.org"), letter(FAILED))

    first, second = live.contents
    assert first == second
    assert answer.startswith("250 2.0.0 Ok: queued as")
    message = read(first)
    assert (message["Subject"], message["To"]) == ("Failed: shipments", "ops@example.org")
    assert message["Message-ID"] == f"<{ID}@localhost>"
    assert message["References"] == "<matter-1@localhost>"
    text = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert "Nobody got <anything> & *more*." in text
    assert "\n    pipeline show 0199\n" in text
    assert "You are told because PIPELINE_NOTIFY names you." in text
    assert "Nobody got &lt;anything&gt; &amp; *more*." in message.get_body(("html",)).get_content()


def test_a_mail_of_several_names_the_first_and_lists_the_rest(live):
    notices.send(target("ops@example.org"), letter(FAILED, WELL, more=["Failed: invoices", "Late: payroll"]))

    message = read(live.contents[0])
    text = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert message["Subject"] == "Failed: shipments (and 3 more)"
    assert "Failed: shipments\n-----------------\n" in text
    assert "And 2 more:\n\n- Failed: invoices\n- Late: payroll\n" in text


def test_a_subject_over_the_edge_is_no_smuggled_header(live):
    notices.send(
        target("ops@example.org"), letter(put(reason="a\r\nBcc: everybody@example.org", schedule="a\r\nBcc: x"))
    )

    assert "Bcc" not in read(live.contents[0])


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("451@example.org", TransientError),
        ("550@example.org", PermanentError),
        ("store-then-drop@example.org", TransientError),
    ],
)
def test_what_a_relay_answers_decides_whether_it_is_tried_again(live, address, error):
    with pytest.raises(error):
        notices.send(target(address), letter())


def test_a_relay_that_is_away_is_waited_for(live):
    live.stop()
    with pytest.raises(TransientError, match="cannot be reached"):
        notices.send(target("ops@example.org"), letter())
    live.start()


def test_a_notice_is_signed_as_messages_are_and_goes_out_unsigned_where_the_key_is_none(live, home, monkeypatch):
    key = home / "dkim.pem"
    monkeypatch.setenv("PIPELINE_DKIM_KEY", "dkim.pem")
    monkeypatch.setenv("PIPELINE_DKIM_SELECTOR", "s1")
    monkeypatch.setenv("PIPELINE_MAIL_FROM", "ops@example.com")
    for text in (pem(rsa.generate_private_key(65537, 2048)), "-----BEGIN nonsense"):
        key.write_text(text)
        settings.cache_clear()
        signer.cache_clear()
        notices.send(target("ops@example.org"), letter())

    signatures = [read(content)["DKIM-Signature"] for content in live.contents]
    assert "d=example.com; s=s1" in signatures[0]
    assert signatures[1] is None


def test_where_one_relay_is_away_the_next_one_takes_it(live, monkeypatch):
    monkeypatch.setenv("PIPELINE_SMTP_URL", f"smtp://127.0.0.1:1,{live.url}")
    settings.cache_clear()
    notices.send(target("ops@example.org"), letter())

    assert len(live.taken()) == 1


def test_mail_for_notices_is_caught_and_redirected_like_any_other(live, monkeypatch):
    monkeypatch.setenv("PIPELINE_MAIL", "redirect:me@example.org")
    settings.cache_clear()
    notices.send(target("ops@example.org"), letter())

    assert [line["recipient"] for line in live.taken()] == ["me@example.org"]


def test_every_tone_has_its_colour():
    assert set(words.COLOURS) == set(Tone)
    assert Target("https://x", Shape.JSON) == target("https://x")
