"""A token opens what it was made for, until it ends, and nothing else; nobody can make or change one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import Refused
from pipeline.tokens import Purpose, issue, read

KEYS = [b"k" * 32]
NOW = datetime(2026, 11, 16, 7, 0, tzinfo=UTC)
NOT_OURS = "this link is not one of ours, or not whole"


@given(st.binary(max_size=60), st.sampled_from(Purpose), st.none() | st.just(NOW + timedelta(days=30)))
def test_what_was_said_is_heard_and_the_same_is_said_the_same(body, purpose, expires):
    token = issue(KEYS, purpose, body, expires)
    assert read(KEYS, purpose, token, NOW) == body
    assert token == issue(KEYS, purpose, body, expires)
    assert token.isascii()
    assert token.replace("-", "a").replace("_", "a").isalnum()


def test_it_ends_when_it_says_and_tells_so():
    token = issue(KEYS, Purpose.DOCUMENT, b"42", NOW)
    assert read(KEYS, Purpose.DOCUMENT, token, NOW - timedelta(seconds=1)) == b"42"
    with pytest.raises(Refused, match=r"this link ended on 2026-11-16 07:00 UTC"):
        read(KEYS, Purpose.DOCUMENT, token, NOW)


def test_a_token_for_one_purpose_opens_no_other():
    with pytest.raises(Refused, match=NOT_OURS):
        read(KEYS, Purpose.DOCUMENT, issue(KEYS, Purpose.UNSUBSCRIBE, b"42"), NOW)


@example(0, "A", "=")
@given(st.integers(0, 70), st.sampled_from("AZaz09-_"), st.text(max_size=5))
def test_whoever_changes_a_letter_has_no_token(at, letter, more):
    token = issue(KEYS, Purpose.DOCUMENT, b"0123456789abcdef", NOW + timedelta(days=1))
    at %= len(token)
    for changed in (token[:at] + letter + token[at + 1 :], token[:at], token + more, more):
        if changed != token:
            with pytest.raises(Refused, match=NOT_OURS):
                read(KEYS, Purpose.DOCUMENT, changed, NOW)


def test_a_key_that_was_replaced_still_counts_until_it_is_taken_away():
    old, new = [b"a" * 32], [b"b" * 32, b"a" * 32]
    token = issue(old, Purpose.UNSUBSCRIBE, b"42")
    assert read(new, Purpose.UNSUBSCRIBE, token, NOW) == b"42"
    assert issue(new, Purpose.UNSUBSCRIBE, b"42") != token
    with pytest.raises(Refused):
        read(new[:1], Purpose.UNSUBSCRIBE, token, NOW)
