"""What servers really say, and what it means: replies as Postfix, Exim, Exchange, Gmail and others word them."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.replies import Kind, Stage, classify

# A machine that is busy with other things fails no test.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Stage, code, text, class. Lines of a reply are joined as smtplib joins them.
REPLIES = """
# Postfix
rcpt 250 2.1.5 Ok -> accepted
data 354 End data with <CR><LF>.<CR><LF> -> accepted
dot 250 2.0.0 Ok: queued as 4ZTk3x2vYqz -> accepted
connect 421 4.7.0 mx.example.org Error: too many connections from 192.0.2.1 -> relay_down
connect 421 4.3.2 All server ports are busy -> relay_down
rcpt 421 4.4.2 mx.example.org Error: timeout exceeded -> relay_down
rcpt 421 4.7.0 mx.example.org Error: too many errors -> throttled
rcpt 450 4.1.1 <a@example.org>: Recipient address rejected: unverified address: connect timed out -> recipient_transient
rcpt 450 4.1.2 <a@example.org>: Recipient address rejected: Domain not found -> recipient_transient
rcpt 450 4.2.0 <a@example.org>: Recipient address rejected: Greylisted, see postgrey.example -> recipient_transient
rcpt 450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1] -> throttled
rcpt 450 4.7.1 Error: too much mail from 192.0.2.1 -> throttled
rcpt 451 4.3.5 Server configuration error -> recipient_transient
rcpt 452 4.3.1 Insufficient system storage -> recipient_transient
mail 452 4.3.1 Insufficient system storage -> relay_down
mail 450 4.1.8 <r@example.com>: Sender address rejected: Domain not found -> relay_down
rcpt 454 4.7.1 <a@example.org>: Relay access denied -> throttled
rcpt 550 5.1.1 <a@example.org>: Recipient address rejected: User unknown in virtual mailbox table -> recipient_permanent
rcpt 556 5.1.10 <a@example.org>: Domain example.org does not accept mail (nullMX) -> recipient_permanent
rcpt 550 5.1.0 <r@example.com>: Sender address rejected: User unknown in local recipient table -> configuration
rcpt 550 5.1.2 <a@example.org>: Recipient address rejected: Domain not found -> recipient_other
rcpt 554 5.7.1 <a@example.org>: Relay access denied -> recipient_other
rcpt 550 5.7.1 <no-such-user@example.org>: Recipient address rejected: Policy -> recipient_other
rcpt 554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org -> recipient_other
rcpt 503 5.5.1 Error: need MAIL command -> relay_down
mail 503 5.5.1 Error: nested MAIL command -> relay_down
mail 530 5.7.0 Must issue a STARTTLS command first -> configuration
mail 552 5.3.4 Message size exceeds fixed limit -> message_too_large
mail 553 5.7.1 <r@example.com>: Sender address rejected: not owned by user app -> configuration
auth 535 5.7.8 Error: authentication failed: UGFzc3dvcmQ6 -> configuration
auth 454 4.7.0 Temporary authentication failure: Connection lost to authentication server -> relay_down
data 451 4.7.1 Service unavailable - try again later -> throttled
data 554 5.5.1 Error: no valid recipients -> content
dot 451 4.3.0 Error: queue file write error -> recipient_transient
dot 554 5.7.1 Rejected, id=04122-07 - SPAM -> content
dot 554 5.7.0 Reject, id=04122-08 - INFECTED: Eicar-Signature -> content
dot 550 5.6.0 Improper use of 8-bit data in message header -> content
# Exim
mail 421 too many messages in this connection -> throttled
rcpt 451 Temporary local problem - please try later -> recipient_transient
rcpt 550 Unrouteable address -> recipient_other
rcpt 550 No Such User Here -> recipient_permanent
rcpt 550 relay not permitted -> recipient_other
rcpt 550 Verification failed for <r@example.com>\\nNo Such User Here\\nSender verify failed -> configuration
rcpt 503 AUTH first -> configuration
dot 550 Administrative prohibition -> content
dot 552 Message size exceeds maximum permitted -> message_too_large
dot 421 Lost incoming connection -> relay_down
# Exchange and Outlook
mail 421 4.3.2 Service not available, closing transmission channel -> relay_down
mail 530 5.7.57 Client not authenticated to send anonymous mail during MAIL FROM -> configuration
mail 451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation (S775) -> throttled
mail 550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent (S3140) -> configuration
rcpt 452 4.3.1 Insufficient system resources (UsedDiskSpace[C:\\Exchange]) -> recipient_transient
rcpt 451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719) -> throttled
rcpt 550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found by SMTP address lookup -> recipient_permanent
rcpt 550 5.4.1 Recipient address rejected: Access denied. AS(201806281) -> recipient_other
rcpt 550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain -> recipient_other
rcpt 550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP -> recipient_other
dot 432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded -> throttled
dot 550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found -> recipient_permanent
dot 550 5.7.60 SMTP; Client does not have permissions to send as this sender -> configuration
dot 550 5.7.515 Access denied, sending domain doesn't meet the required authentication level -> configuration
dot 552 5.3.4 ROUTING.SizeLimit; message size exceeds fixed maximum size for route -> message_too_large
dot 550 5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient -> message_too_large
# Gmail
rcpt 450 4.2.1 The user you try to reach is receiving mail at a rate\\n4.2.1 that prevents more -> recipient_transient
rcpt 450 4.2.1 Peak SMTP relay limit exceeded for customer -> throttled
rcpt 452 4.2.2 The email account that you tried to reach is over quota -> recipient_transient
rcpt 452 4.5.3 Your message has too many recipients -> throttled
rcpt 550 5.1.1 The email account that you tried to reach does not exist.\\n5.1.1 Please check -> recipient_permanent
rcpt 550 5.2.1 The email account that you tried to reach is disabled -> recipient_permanent
rcpt 550 5.2.1 The user you try to reach is receiving mail at a rate that prevents more -> recipient_other
rcpt 552 5.2.2 The recipient's inbox is out of storage space -> recipient_other
rcpt 553 5.1.3 The recipient address <a@> is not a valid RFC 5321 address -> recipient_other
mail 530 5.7.0 Authentication Required -> configuration
auth 535 5.7.8 Username and Password not accepted -> configuration
auth 454 4.7.0 Cannot authenticate due to a temporary system problem. Try again later -> relay_down
dot 421 4.7.28 Gmail has detected an unusual rate of unsolicited mail -> throttled
dot 421 4.3.0 Temporary System Problem. Try again later -> relay_down
dot 550 5.7.26 This mail has been blocked because the sender is unauthenticated -> configuration
dot 550 5.4.5 Daily user sending limit exceeded -> configuration
dot 550 5.7.1 Our system has detected that this message is likely unsolicited mail -> content
dot 552 5.7.0 This message was blocked because its content presents a potential security issue -> content
dot 552 5.3.4 Your message exceeded Google's message size limits -> message_too_large
# Amazon SES
connect 421 Too many concurrent SMTP connections -> relay_down
auth 535 Authentication Credentials Invalid -> configuration
mail 530 Authentication required -> configuration
dot 250 Ok 0100018f5a3c -> accepted
dot 451 Temporary service failure -> recipient_transient
dot 454 Throttling failure: Maximum sending rate exceeded. -> throttled
dot 454 Throttling failure: Daily message quota exceeded. -> throttled
dot 554 Message rejected: Email address is not verified. The following identities failed the check -> configuration
dot 554 Access denied: User `arn` is not authorized to perform `ses:SendRawEmail' -> configuration
# Mailgun, SMTP2GO, Yahoo, qmail, milters and gateways
dot 250 Great success -> accepted
rcpt 550 Relay access denied - please authenticate -> configuration
dot 550 From header sender domain not verified -> configuration
dot 421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints -> throttled
dot 554 5.7.9 Message not accepted for policy reasons -> content
rcpt 550 sorry, no mailbox here by that name (#5.1.1) -> recipient_permanent
rcpt 553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1) -> recipient_other
rcpt 550 #5.1.0 Address rejected. -> recipient_other
rcpt 451 4.7.1 Greylisting in action, please come back in 00:05:00 -> recipient_transient
rcpt 450 Requested action temporarily not taken: mailbox busy -> recipient_transient
rcpt 552 Requested mail action aborted: mailbox full -> recipient_other
rcpt 501 5.1.3 Bad recipient address syntax -> recipient_other
connect 554 5.7.1 You are not allowed to connect -> configuration
# No reply, half a reply, a reply to something else
connect 0 timed out -> relay_down
rcpt 0 Connection unexpectedly closed -> relay_down
rcpt 354 go ahead -> relay_down
data 250 ok -> relay_down
data 0 Connection unexpectedly closed -> relay_down
dot 0 timed out -> unknown
dot 354 go ahead -> unknown
dot 999 whatever -> unknown
"""


def table():
    for line in REPLIES.strip().splitlines():
        if not line.startswith("#"):
            reply, _, kind = line.partition(" -> ")
            stage, code, text = reply.split(" ", 2)
            yield pytest.param(Stage(stage), int(code), text.replace("\\n", "\n"), Kind(kind), id=reply[:60])


@pytest.mark.parametrize(("stage", "code", "text", "kind"), list(table()))
def test_what_servers_say_means_what_the_table_says(stage, code, text, kind):
    assert classify(stage, code, text).kind is kind


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4.7.1 Greylisted, please try again in 300 seconds", 300),
        ("Greylisted for 5 minutes", 300),
        ("4.7.1 Greylisting in action, please come back in 00:04:59", 299),
        ("Too many messages, retry in 2 hours", 7200),
        ("4.7.0 Throttled. Please wait 90s", 90),
        ("4.2.0 Try again later", None),
        ("4.7.1 [192.0.2.1] Server busy (S77719)", None),
        ("Messages of the last 24 hours: too many", None),
    ],
)
def test_the_seconds_a_server_asks_for_are_heard(text, seconds):
    assert classify(Stage.RCPT, 451, text).wait == seconds


def test_a_refusal_for_good_asks_for_no_wait():
    assert classify(Stage.RCPT, 550, "5.1.1 User unknown, do not try again in 60 seconds").wait is None


def test_a_reply_of_several_lines_becomes_one_with_its_code_said_once():
    verdict = classify(Stage.RCPT, 550, "5.1.1 The account does not exist.\n5.1.1  Check it for typos.\n")
    assert verdict.text == "5.1.1 The account does not exist. Check it for typos."
    assert verdict.enhanced == "5.1.1"


def test_only_a_dead_address_is_suppressed_and_only_silence_after_the_dot_leaves_a_doubt():
    assert classify(Stage.RCPT, 550, "5.1.1 no such user").suppresses
    assert not classify(Stage.RCPT, 554, "5.7.1 blocked").suppresses
    assert classify(Stage.DATA, 0, "reset").certainly_not_sent
    assert not classify(Stage.DOT, 0, "reset").certainly_not_sent
    assert not classify(Stage.DOT, 250, "ok").certainly_not_sent


@calm
@given(st.sampled_from(Stage), st.integers(-10, 1000), st.text())
def test_every_reply_has_a_class_and_a_doubt_arises_only_after_the_dot(stage, code, text):
    verdict = classify(stage, code, text)
    assert (verdict.kind is Kind.UNKNOWN) == (stage is Stage.DOT and not (200 <= code < 300 or 400 <= code < 600))
    assert verdict.text == " ".join(verdict.text.split())
    if stage is not Stage.DOT and 200 <= code < 300 and stage is not Stage.DATA:
        assert verdict.kind is Kind.ACCEPTED
