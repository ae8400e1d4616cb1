"""What servers really say, and what it means: replies as Postfix, Exim, Exchange, Gmail and others word them."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.replies import HangUps, Kind, Stage, Verdict, classify, common_words

# A machine that is busy with other things fails no test.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Stage, code, text, class. Lines of a reply are joined as smtplib joins them.
REPLIES = """
# Postfix
rcpt 250 2.1.5 Ok -> accepted
data 354 End data with <CR><LF>.<CR><LF> -> accepted
dot 250 2.0.0 Ok: queued as 4ZTk3x2vYqz -> accepted
starttls 454 4.7.0 TLS not available due to local problem -> relay_down
starttls 554 5.7.0 No TLS for you -> configuration
connect 421 4.7.0 mx.example.org Error: too many connections from 192.0.2.1 -> relay_down
connect 421 4.3.2 All server ports are busy -> relay_down
rcpt 421 4.4.2 mx.example.org Error: timeout exceeded -> recipient_transient
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
dot 421 Lost incoming connection -> recipient_transient
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
rcpt 550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP -> configuration
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
dot 421 4.3.0 Temporary System Problem. Try again later -> recipient_transient
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
# Office 365 (learn.microsoft.com: NDR error codes in Exchange Online) and Outlook.com (its postmaster page)
mail 421 RP-001 (BAY) The mail server IP connecting has exceeded the rate limit allowed -> throttled
mail 550 SC-001 (COL) Mail rejected by Outlook.com for policy reasons -> configuration
mail 550 OU-002 (COL) Mail rejected by Outlook.com for policy reasons -> configuration
mail 451 4.7.652 The mail server [192.0.2.1] has exceeded the maximum number of connections. (S844) -> throttled
rcpt 451 4.4.62 Mail sent to the wrong Office 365 region. ATTR35 -> recipient_transient
rcpt 452 4.5.3 Recipients belong to multiple regions ATTR38 -> recipient_transient
rcpt 550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). -> recipient_other
dot 550 5.1.8 Access denied, bad outbound sender AS(42004) -> configuration
dot 550 5.7.501 Access denied, spam abuse detected from this account -> configuration
dot 550 5.7.705 Access denied, tenant has exceeded threshold -> configuration
dot 550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains -> configuration
dot 554 5.2.0 STOREDRV.Deliver; delivery result banner -> content
dot 451 4.7.0 Temporary server error. Please try again later. PRX2 -> throttled
# Yahoo (senders.yahooinc.com/smtp-error-codes; smtp.codes/yahoo)
mail 421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume - 4.16.55.1 -> throttled
mail 421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred -> throttled
mail 421 Max message per connection reached, closing transmission channel -> relay_down
mail 553 5.7.2 [TSS11] All messages from 192.0.2.1 will be permanently deferred -> configuration
rcpt 450 User is receiving mail too quickly -> recipient_transient
rcpt 451 mta4.example Resources temporarily unavailable. Please try again later [#4.16.1]. -> recipient_transient
rcpt 452 temporary domain failure <a@example.org> -> recipient_transient
rcpt 554 delivery error: dd This user doesn't have a yahoo.com account (a@example.org) [0] - mta1 -> recipient_permanent
rcpt 552 1 Requested mail action aborted, mailbox not found -> recipient_permanent
dot 554 5.7.9 Message not accepted for policy reasons. See https://postmaster.example/error-codes -> content
dot 554 Message not allowed - [PH01] Email not accepted for policy reasons. -> content
# SendGrid (docs: SMTP errors and troubleshooting)
auth 535 Authentication failed: Bad username / password -> configuration
auth 451 Authentication failed: Maximum credits exceeded -> relay_down
dot 250 Ok: queued as xW8Y2v1TQ5yN -> accepted
dot 550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved. \
-> configuration
rcpt 450 too frequent connects from 192.0.2.1, please try again later. -> throttled
rcpt 451 Temporary local problem - please try later -> recipient_transient
rcpt 452 Too many recipients received this hour -> throttled
rcpt 550 Invalid recipient a@example.org -> recipient_permanent
dot 552 message size exceeds limit -> message_too_large
# Mailgun
auth 535 5.7.0 Mailgun is not loving your login or password -> configuration
dot 250 Great success -> accepted
dot 421 Domain example.com is not allowed to send: recipient limit exceeded. Try again after tomorrow -> throttled
rcpt 550 5.7.1 Relaying denied -> recipient_other
# Mimecast (support: Policies - Mimecast SMTP error codes)
rcpt 421 Sender address blocked -> recipient_transient
rcpt 451 Internal resource is temporarily unavailable - https://community.mimecast.example/docs/DOC-1369#451 \
-> recipient_transient
rcpt 550 Invalid Recipient - https://community.mimecast.example/docs/DOC-1369#550 [Aj3QXapeMpqZ.us32] \
-> recipient_permanent
rcpt 550 Administrative prohibition - envelope blocked - https://community.mimecast.example/docs/DOC-1369#550 \
-> recipient_other
dot 550 Email rejected due to security policies - https://community.mimecast.example/docs/DOC-1369#550 -> content
dot 554 Email rejected due to security policies - MCSpamSignature.x -> content
# Proofpoint, Barracuda, Cisco, MessageLabs
rcpt 550 5.1.1 User Unknown -> recipient_permanent
rcpt 554 Blocked - see https://ipcheck.proofpoint.example/?ip=192.0.2.1 -> recipient_other
dot 550 5.7.0 Local Policy Violation -> content
dot 554 5.7.1 [P4] Message blocked due to spam content in the message. -> content
dot 550 permanent failure for one or more recipients (a@example.org:blocked) -> content
connect 554 Your access to this mail system has been rejected due to poor reputation -> configuration
rcpt 550 Invalid recipient <a@example.org>\\n(#5.1.1) -> recipient_permanent
# Comcast, GMX, T-Online
mail 421 4.1.0 192.0.2.1 Throttled - try again later. -> throttled
connect 554 Transaction failed\\nReject due to policy restrictions.\\nSee https://gmx.example -> configuration
connect 554 IP=192.0.2.1 - A problem occurred. (Ask your postmaster for help) -> configuration
# Greylisting: postgrey, milter-greylist, SQLgrey, rspamd, Exim
rcpt 450 4.2.0 <a@example.org>: Recipient address rejected: Greylisted for 300 seconds -> recipient_transient
rcpt 451 4.7.1 Greylisting in action, please come back in 00:04:59 -> recipient_transient
rcpt 450 4.0.0 <a@example.org>: Recipient address rejected: Greylisted for 5 minutes -> recipient_transient
rcpt 451 4.7.1 Try again later -> throttled
rcpt 451 Greylisted, please try again in 180 seconds -> recipient_transient
rcpt 421 Please try again later (gray listed) -> recipient_transient
# Odd spacing, no enhanced code, the code in the middle, in several lines, of another class than the reply's
rcpt 550   5.1.1    <a@example.org>    User   unknown -> recipient_permanent
rcpt 550 5.1.1: User unknown -> recipient_permanent
rcpt 550 User unknown -> recipient_permanent
rcpt 550 sorry; (#5.1.1) -> recipient_permanent
rcpt 550 5.7.1 Our records say:\\n5.7.1 you may not send here.\\n5.7.1 Call us. -> recipient_other
rcpt 450 5.1.1 User unknown, for now -> recipient_transient
rcpt 550 4.1.1 No such user -> recipient_permanent
rcpt 551 User not local; please try <b@example.net> -> recipient_other
rcpt 550 \\n -> recipient_other
dot 451 \\t4.3.0\\tlater -> recipient_transient
# SMTP2GO, qmail, milters and gateways
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
mail 0 timed out -> relay_down
mail 0 Connection unexpectedly closed -> relay_down
rcpt 0 Connection unexpectedly closed -> recipient_transient
rcpt 354 go ahead -> recipient_transient
data 250 ok -> recipient_transient
data 0 Connection unexpectedly closed -> recipient_transient
dot 0 timed out -> unknown
dot 354 go ahead -> unknown
dot 999 whatever -> unknown
"""


def table():
    for line in REPLIES.strip().splitlines():
        if not line.startswith("#"):
            reply, _, kind = line.partition(" -> ")
            stage, code, text = reply.split(" ", 2)
            said = text.replace("\\n", "\n").replace("\\t", "\t")
            yield pytest.param(Stage(stage), int(code), said, Kind(kind), id=reply[:60])


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


def test_only_a_dead_address_is_suppressed():
    assert classify(Stage.RCPT, 550, "5.1.1 no such user").suppresses
    assert not classify(Stage.RCPT, 554, "5.7.1 blocked").suppresses


def test_only_silence_after_the_dot_leaves_a_doubt():
    assert classify(Stage.DATA, 0, "reset").kind is Kind.RECIPIENT_TRANSIENT
    assert classify(Stage.DOT, 0, "reset").kind is Kind.UNKNOWN
    assert classify(Stage.DOT, 250, "ok").kind is Kind.ACCEPTED


def test_a_goodbye_over_one_recipient_puts_off_that_one_and_asks_for_a_new_connection():
    goodbye = classify(Stage.RCPT, 421, "4.7.0 example.org is not for you now, try again in 5 minutes")
    assert (goodbye.kind, goodbye.wait, goodbye.hung_up) == (Kind.THROTTLED, 300, True)
    silence = classify(Stage.DATA, 0, "Connection unexpectedly closed")
    assert (silence.kind, silence.hung_up) == (Kind.RECIPIENT_TRANSIENT, True)
    before = classify(Stage.MAIL, 421, "4.3.2 shutting down")
    assert (before.kind, before.hung_up) == (Kind.RELAY_DOWN, True)
    assert not classify(Stage.RCPT, 450, "4.2.0 mailbox busy").hung_up
    assert not Verdict(Kind.POISON, Stage.MAIL, 0, "needs SMTPUTF8").hung_up


def said(code, text):
    return common_words(classify(Stage.RCPT, code, text))


def test_a_refusal_that_everybody_gets_says_the_same_without_its_particulars():
    blocked = {
        said(554, f"5.7.1 <r{n}@example.org>: Relay access denied, id=4Zq{n}x at 07:00:{n:02}") for n in range(9)
    }
    assert len(blocked) == 1
    assert said(554, "5.7.1 Another reason") not in blocked
    assert said(553, "5.7.1 <a@example.org>: Relay access denied, id=4 at 07:00:01") not in blocked


@pytest.mark.parametrize(
    "reply",
    [
        (250, "2.1.5 Ok"), (550, "5.1.1 User unknown"), (450, "4.2.0 busy"), (550, "5.1.2 Domain not found"),
        (552, "5.2.2 Over quota"), (552, "mailbox full"), (421, "bye"),
    ],
)  # fmt: skip
def test_what_is_about_a_recipient_is_the_same_for_nobody(reply):
    assert said(*reply) == ""


def test_a_relay_that_hangs_up_on_three_recipients_in_a_row_is_down():
    def kinds(*replies):
        hang_ups = HangUps()
        return [hang_ups.judged(classify(Stage.RCPT, *reply)).kind for reply in replies]

    transient = Kind.RECIPIENT_TRANSIENT
    found = kinds((421, "bye"), (0, "reset"), (0, "timed out"), (421, ""))
    assert found == [transient, transient, Kind.RELAY_DOWN, transient]
    assert set(kinds((421, "bye"), (421, "bye"), (450, "4.2.0 busy"), (421, "bye"))) == {transient}


@calm
@given(st.sampled_from(Stage), st.integers(-10, 1000), st.text())
def test_every_reply_has_a_class_and_a_doubt_arises_only_after_the_dot(stage, code, text):
    verdict = classify(stage, code, text)
    assert (verdict.kind is Kind.UNKNOWN) == (stage is Stage.DOT and not (200 <= code < 300 or 400 <= code < 600))
    assert verdict.text == " ".join(verdict.text.split())
    if stage is not Stage.DOT and 200 <= code < 300 and stage is not Stage.DATA:
        assert verdict.kind is Kind.ACCEPTED
