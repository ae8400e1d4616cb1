"""What we sign, another program verifies; whoever changes a signed word breaks it."""

import base64
import re

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.messages import Attachment, encode
from pipeline.adapters.messages.signing import SIGNED, signer
from pipeline.errors import DefinitionError
from tests.unit.adapters.test_messages import LINE, PDF, Person, assert_fit_to_send, message, read

# A machine that is busy with other things fails no test.
calm = settings(max_examples=50)


def pem(key, encryption=None):
    form = PrivateFormat.PKCS8 if isinstance(key, ec.EllipticCurvePrivateKey) else PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


KEY = rsa.generate_private_key(65537, 2048)
OURS = signer(pem(KEY), "s2026", "example.com")


def verifies(data, record=None):
    def dns(name, timeout=5):
        assert name == b"s2026._domainkey.example.com."
        return (record or OURS.record()).encode()

    return dkim.verify(data, dnsfunc=dns)


def signed(**changes):
    return message(**{"signer": OURS, "list_id": "<weekly.example.com>", **changes})


def test_a_signed_message_is_verified_by_another_program_and_is_the_same_on_every_attempt():
    data = signed(attachments=[PDF], unsubscribe_url="https://reports.example.com/unsubscribe/" + "x" * 500)
    assert_fit_to_send(data)
    assert verifies(data)
    assert data == signed(attachments=[PDF], unsubscribe_url="https://reports.example.com/unsubscribe/" + "x" * 500)
    signature = read(data)["DKIM-Signature"]
    assert "a=rsa-sha256; c=relaxed/simple; d=example.com; s=s2026;" in signature
    named = re.search(r"h=([^;]*);", signature)[1].split(":")
    assert {name.lower() for name in read(data)} & set(SIGNED) <= set(named)
    assert named.count("from") == named.count("subject") == 2
    assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(named)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: Your", b"Subject: My"),
        (b"To: ann", b"To: bob"),
        (b"Good morning", b"Good evening"),
        (b"MIME-Version", b"From: Mallory <m@example.net>\r\nMIME-Version"),
        (b"MIME-Version", b"Subject: Another\r\nMIME-Version"),
        (b"MIME-Version", b"Reply-To: m@example.net\r\nMIME-Version"),
        (b"One-Click", b"No-Click"),
    ],
)
def test_whoever_changes_or_adds_something_breaks_the_signature(old, new):
    data = signed(unsubscribe_url="https://reports.example.com/u/1")
    assert old in data
    assert not verifies(data.replace(old, new, 1))


def test_a_relay_may_fold_headers_anew_and_add_lines_at_the_end():
    data = signed(unsubscribe_url="https://reports.example.com/u/1")
    folded = data.replace(b"Subject: Your shipments", b"SUBJECT:  Your\r\n\tshipments ")
    assert folded != data
    assert verifies(b"Received: from here by there\r\n" + folded + b"\r\n\r\n")


@calm
@given(subject=LINE, person=LINE, file=LINE.filter(bool), text=st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_it_says_the_signature_holds_and_relays_take_it(subject, person, file, text):
    data = signed(
        subject=subject,
        recipient=Person(name=person),
        text=text,
        html=f"<p>{text}</p>",
        attachments=[encode(Attachment(file, "application/pdf", text.encode()))],
    )
    assert_fit_to_send(data)
    assert verifies(data)


def test_another_key_in_the_dns_verifies_nothing():
    other = rsa.generate_private_key(65537, 2048)
    assert not verifies(signed(), signer(pem(other), "s2026", "example.com").record())


def test_a_key_is_a_file_or_its_text_with_line_ends_written_out(tmp_path):
    file = tmp_path / "dkim.pem"
    file.write_text(pem(KEY))
    for key in (str(file), pem(KEY).replace("\n", "\\n")):
        assert signer(key, "s2026", "example.com").record() == OURS.record()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\nnonsense\n-----END RSA PRIVATE KEY-----", "it is no private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "it is no RSA key"),
        (pem(KEY, BestAvailableEncryption(b"secret")), "it is protected by a password"),
        ("/nowhere/dkim.pem", "cannot be read: No such file or directory: /nowhere/dkim.pem"),
    ],
)
def test_what_is_no_key_is_refused_with_the_way_out(key, reason):
    with pytest.raises(DefinitionError, match=f"^PIPELINE_DKIM_KEY: {reason}"):
        signer(key, "s", "example.com")


def test_the_record_is_what_the_dns_has_to_say():
    assert OURS.record().startswith("v=DKIM1; k=rsa; p=MIIB")
    assert base64.b64decode(OURS.record().partition("p=")[2])
