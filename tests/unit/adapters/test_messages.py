"""Messages are read back with the standard library's parser: what went in comes out, and nothing else does."""

import email
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email import policy
from email.header import decode_header
from email.utils import unquote
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.adapters.messages import (
    Attachment,
    addresses,
    compose,
    domain_of,
    encode,
    split_address,
    valid_address,
    wire_address,
)
from pipeline.errors import PermanentError

# A machine that is busy with other things fails no test.
calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

AT = datetime(2026, 11, 16, 7, 0, tzinfo=UTC)
PDF = Attachment("ACME.pdf", "application/pdf", os.urandom(12_000))


@dataclass(frozen=True)
class Person:
    email: str = "ann@example.org"
    name: str | None = None


def message(**changes):
    whole = {
        "sender": "Reports <reports@example.com>",
        "recipient": Person(),
        "subject": "Your shipments",
        "text": "Good morning\n",
        "html": "<p>Good morning</p>\n",
        "message_id": "<0190-1@example.com>",
        "delivery_id": "0190-1",
        "date": AT,
    }
    return compose(**{**whole, **changes})


def read(data):
    parsed = email.message_from_bytes(data, policy=policy.default)
    assert [defect for part in parsed.walk() for defect in part.defects] == []
    return parsed


def test_a_date_is_written_in_its_own_zone_also_after_the_same_instant_in_another():
    there = AT.astimezone(timezone(timedelta(hours=1)))
    assert b"Date: Mon, 16 Nov 2026 07:00:00 +0000\r\n" in message()
    assert b"Date: Mon, 16 Nov 2026 08:00:00 +0100\r\n" in message(date=there)


def content(part):
    return part.get_content().replace("\r\n", "\n")


def assert_fit_to_send(data):
    """CRLF only, no line above 998, 7-bit throughout: any relay takes it as it stands."""
    assert data.isascii()
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", data)
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert data.endswith(b"\r\n")


def test_a_report_arrives_with_its_headers_both_texts_and_its_files():
    csv = Attachment("rows.csv", "text/csv; charset=utf-8", "Zürich;1\r\n".encode())
    data = message(
        attachments=[PDF, csv], reply_to="Ops, Night <ops@example.com>", list_id="Weekly <weekly.example.com>"
    )
    assert_fit_to_send(data)
    parsed = read(data)
    assert parsed["From"] == "Reports <reports@example.com>"
    assert parsed["To"] == "ann@example.org"
    assert parsed["Reply-To"].addresses[0].display_name == "Ops, Night"
    assert parsed["Subject"] == "Your shipments"
    assert parsed["Date"].datetime == AT
    assert parsed["Message-ID"] == "<0190-1@example.com>"
    assert parsed["X-Delivery-ID"] == "0190-1"
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["X-Auto-Response-Suppress"] == "OOF, AutoReply"
    assert parsed["List-Id"] == "Weekly <weekly.example.com>"
    assert content(parsed.get_body(("plain",))) == "Good morning\n"
    assert content(parsed.get_body(("html",))) == "<p>Good morning</p>\n"
    pdf, rows = parsed.iter_attachments()
    assert (pdf.get_filename(), pdf.get_content_type(), pdf.get_content()) == ("ACME.pdf", "application/pdf", PDF.data)
    assert (rows.get_filename(), rows.get_content()) == ("rows.csv", "Zürich;1\r\n")
    assert [part.get_content_type() for part in parsed.walk()] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf", "text/csv",
    ]  # fmt: skip


def test_the_same_delivery_is_the_same_bytes_on_every_attempt():
    assert message(attachments=[PDF]) == message(attachments=[PDF])


def test_a_shared_attachment_is_encoded_once_and_gives_the_same_message():
    assert message(attachments=[encode(PDF)]) == message(attachments=[PDF])


def test_without_files_or_without_one_of_the_texts_no_empty_parts_are_sent():
    assert read(message()).get_content_type() == "multipart/alternative"
    assert read(message(html="")).get_content_type() == "text/plain"
    assert read(message(text="")).get_content_type() == "text/html"
    assert content(read(message(text="", html="")).get_body()).strip() == ""


def test_it_says_what_the_standard_library_would_say():
    theirs = email.message.EmailMessage(policy=policy.SMTP.clone(max_line_length=998))
    theirs["From"], theirs["To"] = "Reports <reports@example.com>", '"Łukasz, der Große" <ann@example.org>'
    theirs["Subject"] = "Ihre Lieferungen für März: 東京 → Łódź"
    theirs.set_content("Grüße\n", cte="quoted-printable")
    theirs.add_alternative("<p>Grüße</p>\n", subtype="html", cte="quoted-printable")
    theirs.add_attachment(PDF.data, maintype="application", subtype="pdf", filename="Übersicht Q3.pdf")
    ours = message(
        recipient=Person(name="Łukasz, der Große"),
        subject="Ihre Lieferungen für März: 東京 → Łódź",
        text="Grüße\n",
        html="<p>Grüße</p>\n",
        attachments=[Attachment("Übersicht Q3.pdf", PDF.media_type, PDF.data)],
    )
    assert_fit_to_send(ours)
    ours, theirs = read(ours), read(theirs.as_bytes())
    assert [ours[name] for name in ("From", "To", "Subject")] == [theirs[name] for name in ("From", "To", "Subject")]
    for mine, other in zip(ours.walk(), theirs.walk(), strict=True):
        assert (mine.get_content_type(), mine.get_filename()) == (other.get_content_type(), other.get_filename())
        if not mine.is_multipart():
            assert mine.get_payload(decode=True) == other.get_payload(decode=True)


def display_name(data):
    """The name in To as mail programs show it (Python 3.11's newer parser keeps a space between encoded words)."""
    phrase = email.message_from_bytes(data)["To"].rpartition("<")[0].strip()
    decoded = "".join(
        part if isinstance(part, str) else part.decode(charset or "ascii") for part, charset in decode_header(phrase)
    )
    return unquote(decoded) if phrase.startswith('"') else decoded.strip()


LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=200).map(str.strip)


@calm
@given(subject=LINE, person=LINE, file_name=LINE.filter(bool))
def test_any_subject_name_and_file_name_come_back_as_they_were(subject, person, file_name):
    data = message(
        subject=subject, recipient=Person(name=person), attachments=[Attachment(file_name, "image/png", b"png")]
    )
    assert_fit_to_send(data)
    parsed = email.message_from_bytes(data, policy=policy.default)
    assert parsed["Subject"] == subject
    assert display_name(data) == person
    assert parsed["To"].addresses[0].addr_spec == "ann@example.org"
    (attached,) = parsed.iter_attachments()
    assert attached.get_filename() == file_name


@calm
@given(
    text=st.text(st.characters(exclude_categories=["Cs"])), html=st.text(alphabet="<b>.=-_ \r\n\tFromü東", min_size=1)
)
def test_any_text_comes_back_as_it_was_with_its_line_ends_made_one_kind(text, html):
    data = message(text=text, html=html)
    assert_fit_to_send(data)
    parsed = read(data)
    for kind, sent in (("plain", text), ("html", html)):
        if sent:
            expected = re.sub(r"\r\n?", "\n", sent)
            assert content(parsed.get_body((kind,))) in {expected, expected + "\n"}


@calm
@given(st.binary(max_size=5000))
def test_any_bytes_come_back_as_they_were(data):
    (attached,) = read(message(attachments=[Attachment("a.bin", "application/octet-stream", data)])).iter_attachments()
    assert attached.get_content() == data


ANY = st.text(st.characters(), max_size=60) | st.text(alphabet='aü,"<>@:;=?_ \r\n\0\x0b\x85\u2028\t', max_size=30)
HEADERS = [name.lower() for name in email.message_from_bytes(message(reply_to="a@b.org", list_id="L <l.b.org>"))]


@calm
@given(subject=ANY, person=ANY, sender=ANY, team=ANY, file=ANY)
def test_whatever_is_written_where_people_write_no_header_is_added_and_none_is_lost(
    subject, person, sender, team, file
):
    try:
        data = message(
            subject=subject,
            recipient=Person(name=person),
            sender=f"{sender} <reports@example.com>",
            reply_to=f"{team} <a@b.org>",
            list_id=f"{team} <l.b.org>",
            attachments=[Attachment(file, "image/png", b"png")],
        )
    except PermanentError as error:
        field = re.match(r"(subject|recipient name|sender|reply_to|list_id|attachment name) ", str(error))
    else:
        field = None
    if field:
        return
    assert_fit_to_send(data)
    parsed = email.message_from_bytes(data, policy=policy.default)
    assert [name.lower() for name in parsed] == HEADERS
    assert parsed["To"].addresses[0].addr_spec == "ann@example.org"
    assert parsed["From"].addresses[0].addr_spec == "reports@example.com"
    assert len(parsed["To"].addresses) == len(parsed["From"].addresses) == 1
    assert [part.get_filename() for part in parsed.iter_attachments()] == [file.strip()]


@calm
@given(st.lists(st.binary(max_size=3000), max_size=4))
def test_attachments_come_back_by_their_sha256_in_their_order(files):
    sent = [Attachment(f"{number}.bin", "application/octet-stream", data) for number, data in enumerate(files)]
    found = list(read(message(attachments=sent)).iter_attachments()) if files else []
    assert [sha256(one.get_content()).hexdigest() for one in found] == [sha256(data).hexdigest() for data in files]


LABEL = st.text(st.characters(categories=["Ll", "Lo", "Nd"], max_codepoint=0xFFFF), min_size=1, max_size=20)


@calm
@given(label=LABEL)
def test_any_domain_travels_in_ascii_or_is_refused(label):
    try:
        data = message(recipient=Person(f"ann@{label}.example"))
    except PermanentError:
        return
    assert_fit_to_send(data)
    assert read(data)["To"].addresses[0].addr_spec.isascii()


def test_a_long_unsubscribe_link_stays_in_one_piece_and_is_followed_by_one_click():
    url = "https://reports.example.com/unsubscribe/" + "x" * 400
    data = message(unsubscribe_url=url)
    assert f"\r\nList-Unsubscribe: <{url}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n".encode() in data
    assert b"List-Unsubscribe" not in message()


def test_one_click_needs_https():
    data = message(unsubscribe_url="http://localhost:8000/unsubscribe/x")
    assert b"\r\nList-Unsubscribe: <http://localhost:8000/unsubscribe/x>\r\n" in data
    assert b"List-Unsubscribe-Post" not in data
    for url in (
        "mailto:x@example.com",
        "https://a.example/> <https://b.example",
        "https://a.example/\r\nBcc: x",
        "https://ü",
    ):
        with pytest.raises(PermanentError, match="unsubscribe_url"):
            message(unsubscribe_url=url)


def test_images_lie_beside_the_html_that_shows_them():
    logo = Attachment("logo.png", "image/png", b"\x89PNG", content_id="1f2e@images.pipeline")
    data = message(html='<img src="cid:1f2e@images.pipeline">\n', images=[logo], attachments=[PDF])
    assert_fit_to_send(data)
    mixed = read(data)
    said, attached = mixed.iter_parts()
    plain, related = said.iter_parts()
    html, image = related.iter_parts()
    kinds = [part.get_content_type() for part in (mixed, said, plain, related, html, image, attached)]
    assert kinds == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
        "application/pdf",
    ]  # fmt: skip
    assert (image["Content-ID"], image.get_content_disposition()) == ("<1f2e@images.pipeline>", "inline")
    assert image.get_content() == b"\x89PNG"


def test_old_programs_find_the_name_of_a_file_beside_its_type():
    data = message(attachments=[Attachment("Übersicht für März.pdf", "application/pdf", b"")])
    assert b"filename*=utf-8''%C3%9Cbersicht%20f%C3%BCr%20M%C3%A4rz.pdf\r\n" in data
    (name,) = re.findall(rb'Content-Type: application/pdf;\r\n name="([^"]+)"', data)
    assert decode_header(name.decode())[0][0].decode() == "Übersicht für März.pdf"


def test_a_subject_of_2000_characters_is_folded_at_spaces_and_one_long_word_is_refused():
    subject = " ".join(["word"] * 400)
    data = message(subject=subject)
    assert_fit_to_send(data)
    assert read(data)["Subject"] == subject
    with pytest.raises(PermanentError, match="subject is longer than the 998 characters"):
        message(subject="x" * 2000)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("subject", {"subject": "Hello\r\nBcc: all@example.org"}),
        ("subject", {"subject": "Hello\nBcc: all@example.org"}),
        ("subject", {"subject": "Hello\u2028there"}),
        ("subject", {"subject": "Hello\0"}),
        ("subject", {"subject": "half \ud83d"}),
        ("recipient", {"recipient": Person("ann@example.org\r\nBcc: all@example.org")}),
        ("recipient", {"recipient": Person("ann@example.org\n")}),
        ("recipient name", {"recipient": Person(name="Ann\r\nBcc: all@example.org")}),
        ("sender", {"sender": "Reports <reports@example.com\nBcc: all@example.org>"}),
        ("sender name", {"sender": "Rep\rorts <reports@example.com>"}),
        ("reply_to", {"reply_to": "ops@example.com\nX: y"}),
        ("list_id", {"list_id": "Weekly\n <weekly.example.com>"}),
        ("delivery_id", {"delivery_id": "1\nX: y"}),
        ("message_id", {"message_id": "<a@b>\nX: y"}),
        ("header X-Team", {"headers": {"X-Team": "ops\r\nBcc: all@example.org"}}),
        ("header name", {"headers": {"X-Team: y\r\nBcc": "z"}}),
        ("attachment name", {"attachments": [Attachment("a\r\nX: y.pdf", "application/pdf", b"")]}),
        ("attachment", {"attachments": [Attachment("a.pdf", "application/pdf\r\nX: y", b"")]}),
        ("plain text", {"text": "half \ud83d"}),
    ],
)
def test_nothing_can_be_smuggled_in_and_the_error_names_the_field(field, changes):
    with pytest.raises(PermanentError, match=re.escape(field)):
        message(**changes)


@pytest.mark.parametrize("name", ["Bcc", "cc", "To", "Content-Type", "x-delivery-id", "DKIM-Signature"])
def test_headers_of_the_pipeline_are_its_own(name):
    with pytest.raises(PermanentError, match=f'header "{name}" is written by the pipeline itself'):
        message(headers={name: "x"})


@pytest.mark.parametrize("identifier", ["0190-1", "<a b@c>", "<a@b", "a@b"])
def test_a_message_id_has_its_form(identifier):
    with pytest.raises(PermanentError, match="must look like <id@domain>"):
        message(message_id=identifier)


def test_international_domains_travel_in_ascii_and_are_shown_as_written():
    assert valid_address("Ann@BÜCHER.example") == "Ann@bücher.example"
    assert wire_address("ann@bücher.example") == "ann@xn--bcher-kva.example"
    assert valid_address("ann@xn--bcher-kva.example") == "ann@bücher.example"
    data = message(recipient=Person("ann@bücher.example", "Änn"))
    assert_fit_to_send(data)
    assert read(data)["To"].addresses[0].addr_spec == "ann@xn--bcher-kva.example"


def test_an_international_sender_makes_identifiers_in_ascii():
    data = message(message_id="<1@bücher.example>", list_id="Wöchentlich <my_report.bücher.example>")
    assert_fit_to_send(data)
    assert b"\r\nMessage-ID: <1@xn--bcher-kva.example>\r\n" in data
    # As it stands in the relay's log, so it stands in the ledger.
    assert domain_of("Wöchentlich <berichte@bücher.example>") == "xn--bcher-kva.example"
    assert b" <my_report.xn--bcher-kva.example>\r\n" in data


def test_an_international_mailbox_needs_the_header_in_utf8():
    data = message(recipient=Person("käthe@bücher.example"))
    assert "To: käthe@xn--bcher-kva.example\r\n".encode() in data


def test_intranet_addresses_without_a_dot_are_fine():
    assert valid_address(" root@localhost ") == "root@localhost"
    assert valid_address("ops@mail.corp.local") == "ops@mail.corp.local"


@pytest.mark.parametrize(
    "address", ["", "ann", "ann@", "@example.org", "a b@example.org", "a@b@c.org", "a@exa_mple.org"]
)
def test_what_is_no_address_is_refused_with_its_field_and_the_reason(address):
    with pytest.raises(PermanentError, match=rf'^recipient "{re.escape(address)}" is not an e-mail address: '):
        valid_address(address, "recipient")


def test_an_address_with_its_name_is_told_where_the_name_belongs():
    said = re.escape('email "Łucja Żak <l@x.example>" is not an e-mail address: write l@x.example alone; a name has a')
    with pytest.raises(PermanentError, match=said):
        valid_address("Łucja Żak <l@x.example>", "email")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a@b.org", ("", "a@b.org")),
        ("Reports <a@b.org>", ("Reports", "a@b.org")),
        ("Müller, Hans <a@b.org>", ("Müller, Hans", "a@b.org")),
        ('"Müller, \\"Hans\\"" <a@b.org>', ('Müller, "Hans"', "a@b.org")),
        ("<a@b.org>", ("", "a@b.org")),
    ],
)
def test_a_name_and_its_address_are_told_apart(text, parts):
    assert split_address(text) == parts


@given(
    st.from_regex(r"\A[a-zA-Z0-9_+.-]{1,70}\Z"),
    st.from_regex(r"\A[a-z0-9.-]{1,30}\.(com|invalid|onion|test|xn--p1ai|[a-z]{1,64})\Z"),
)
def test_an_address_that_is_seen_to_be_plain_is_one_for_the_library_too(local, domain):
    address = f"{local}@{domain}"
    plain = addresses.PLAIN.fullmatch(address) and not domain.endswith(("invalid", "onion")) and len(local) < 65
    if plain:
        assert addresses.valid_address(address) == address
        assert addresses.wire_address(address) == address
