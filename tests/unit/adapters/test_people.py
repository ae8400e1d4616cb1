"""A CSV file of people is read as spreadsheets write it; each bad row is told by its line."""

from __future__ import annotations

import io

import pytest

from pipeline.adapters import people
from pipeline.errors import Refused


@pytest.fixture
def listed(tmp_path):
    def read(text: str | bytes, split_by: str | None = "customer"):
        path = tmp_path / "people.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return people.read(path, split_by)

    return read


def test_as_spreadsheets_write_it(listed):
    found = listed(
        '\ufeffKey;E-Mail;email;Name\r\n7;x;anna@ACME.example;"Miller; Anna"\r\n\r\n;;;\r\n8;;bob@b.example;\r\n'
    )
    assert [(one.email, one.key, one.name) for one in found.people] == [
        ("anna@acme.example", "7", "Miller; Anna"), ("bob@b.example", "8", None),
    ]  # fmt: skip
    assert found.ignored == ["e-mail"]


def test_each_bad_row_is_told_by_its_line_with_all_that_is_wrong(listed):
    found = listed(
        'email,key,locale,zone,status\n"anna@a.example","AC\nME",,,\nbob,ACME,,,\n'
        "cid@c.example,,de_XY,Europe/Berlim,\neve@e.example,ACME,,,gone\n"
    )
    assert [one.key for one in found.people] == ["AC\nME"]
    told = dict(found.bad)
    assert sorted(told) == [4, 5, 6]
    assert told[4].startswith('email "bob" is not an e-mail address')
    assert "did you mean Europe/Berlin" in told[5]
    assert "key is missing: whose document? There is one for each customer" in told[5]
    assert told[6] == 'status "gone" is neither active nor unsubscribed'


def test_the_same_key_and_address_is_merged_and_told(listed):
    found = listed("email,key\nanna@acme.example,A\nanna@ACME.example,A\nanna@acme.example,B\n")
    assert [(one.email, one.key) for one in found.people] == [("anna@acme.example", "A"), ("anna@acme.example", "B")]
    assert found.merged == [(3, "anna@acme.example for A is in line 2 already")]


def test_a_file_that_is_none_is_refused(listed, tmp_path):
    with pytest.raises(Refused, match="line 1 has to name the columns, and has no email and no key: it has anna@a"):
        listed("anna@a.example\n")
    with pytest.raises(Refused, match="byte 0 is not UTF-8"):
        listed(b"\xff\xfeemail")
    with pytest.raises(Refused, match="there is no file"):
        people.read(tmp_path / "nothing.csv", None)


def test_what_is_exported_can_be_imported_and_runs_in_no_spreadsheet(listed):
    out = io.StringIO(newline="")
    told = ("by hand", "2026-11-16", None, None)
    people.write(
        out,
        [
            ("+ops@a.example", "all", "=1+1", None, None, "active", *told),
            ("eve@e.example", "all", None, "de_DE", None, "unsubscribed", *told),
        ],
    )
    assert "'=1+1" in out.getvalue()
    found = listed(out.getvalue(), None)
    assert [(one.email, one.name, one.key) for one in found.people] == [("+ops@a.example", "=1+1", "all")]
    assert [(one.email, one.locale) for one in found.unsubscribed] == [("eve@e.example", "de_DE")]
    assert (found.bad, found.ignored) == ([], [])
