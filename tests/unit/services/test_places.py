"""The ledger's names of where messages went."""

from __future__ import annotations

import pytest

from pipeline.services import places

ANNA, ME = "anna@acme.example", "me@example.com"


@pytest.mark.parametrize(
    ("catcher", "address", "name", "caught", "instead"),
    [
        (False, ANNA, "smtp.example:25", False, None),
        (True, ANNA, "mail catcher smtp.example:25", True, None),
        (False, ME, "smtp.example:25, redirected to me@example.com", False, ME),
        (True, ME, "mail catcher smtp.example:25, redirected to me@example.com", True, ME),
    ],
)
def test_a_name_says_whether_a_message_went_to_its_recipient(catcher, address, name, caught, instead):
    assert places.name("smtp.example:25", catcher=catcher, meant=ANNA, address=address) == name
    assert places.is_caught(name, "250 ok") is caught
    assert places.instead(name) == instead
    assert places.relay(name) == "smtp.example:25"


def test_the_answer_of_our_own_catcher_is_proof_enough():
    assert places.is_caught("127.0.0.1:2525", "250 2.0.0 kept as 20261116T060311Z-anna@acme.example-9f.eml")
    assert not places.is_caught(None, None)
