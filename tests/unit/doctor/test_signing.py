"""The doctor says whether receivers can verify what we sign, and what the DNS has to say where they cannot."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pipeline.doctor import Verdict, signing
from pipeline.settings import settings
from tests.unit.adapters.test_messages_signing import pem

NAME = "s2026._domainkey.example.com"


@pytest.fixture
def signed(home, monkeypatch):
    (home / "dkim.pem").write_text(pem(rsa.generate_private_key(65537, 2048)))
    monkeypatch.setenv("PIPELINE_DKIM_KEY", "dkim.pem")
    monkeypatch.setenv("PIPELINE_DKIM_SELECTOR", "s2026")
    monkeypatch.setenv("PIPELINE_MAIL_FROM", "Reports <reports@example.com>")
    settings.cache_clear()
    return signing.configured_signer(settings())


def asked(answer):
    def ask(name):
        assert name == NAME
        if isinstance(answer, Exception):
            raise answer
        return answer

    return signing.examined(settings(), ask)


def test_without_a_key_nothing_is_signed_and_nothing_looked_up(home):
    assert "PIPELINE_DKIM_KEY is not set" in signing.dkim(settings()).found


def test_a_key_that_the_dns_has_is_fine(signed):
    for record in (signed.record(), signed.record().replace("k=rsa; ", "").replace("; p=", " ; p = ") + ";"):
        assert asked(record).verdict is Verdict.OK


def test_an_international_domain_signs_by_its_ascii_form(signed, monkeypatch):
    monkeypatch.setenv("PIPELINE_MAIL_FROM", "Lager Süd <lager@Bücher.example>")
    settings.cache_clear()
    assert signing.configured_signer(settings()).domain == "xn--bcher-kva.example"


def test_what_is_missing_in_the_dns_is_written_out(signed):
    check = asked(None)
    assert (check.verdict, check.found) == (Verdict.WARNING, f"the DNS has no record {NAME}")
    assert check.advice == f'publish TXT "{signed.record()}" there'


def test_another_key_in_the_dns_is_a_fault(signed):
    check = asked("v=DKIM1; p=AAAA")
    assert (check.verdict, check.found) == (Verdict.FAULT, f"the DNS has another key at {NAME}")


def test_a_dns_that_does_not_answer_is_no_fault_of_the_key(signed):
    check = asked(OSError("all nameservers failed to answer"))
    assert check.verdict is Verdict.WARNING
    assert "could not be looked up: all nameservers" in check.found


def test_a_file_that_is_no_key_is_a_fault(signed, home):
    (home / "other.pem").write_text("-----BEGIN nonsense")
    found = settings().model_copy(update={"dkim_key": str(home / "other.pem")})
    check = signing.examined(found, lambda _name: None)
    assert (check.verdict, check.found.partition(";")[0]) == (Verdict.FAULT, "it is no private key in PEM")
