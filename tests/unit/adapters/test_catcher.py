from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipeline.adapters import catcher
from pipeline.errors import PermanentError

AT = datetime(2026, 11, 21, 7, 0, 0, tzinfo=UTC)


def test_a_message_is_kept_as_it_came_below_its_envelope(tmp_path):
    outbox = catcher.Outbox(tmp_path / "outbox")

    name = outbox.keep(
        "reports@example.com", ["ann@example.com", "bo@example.com"], b"Subject: Hi\r\n\r\nHello\r\n", AT
    )

    assert name.startswith("20261121T070000Z-ann@example.com-")
    assert (tmp_path / "outbox" / name).read_bytes() == (
        b"X-Envelope-From: <reports@example.com>\r\nX-Envelope-To: ann@example.com, bo@example.com\r\n"
        b"Subject: Hi\r\n\r\nHello\r\n"
    )


def test_names_are_in_utc_and_never_lead_out_of_the_folder(tmp_path):
    outbox = catcher.Outbox(tmp_path)
    in_berlin = AT.astimezone(timezone(timedelta(hours=1)))

    names = [
        outbox.keep("", [address], b"", in_berlin)
        for address in ("../../etc/passwd@example.com", '"a b"@example.com', "jörg@example.com", "x" * 300)
    ]

    assert all(name.startswith("20261121T070000Z-") for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert "-jörg@example.com-" in names[2]


def test_the_remains_of_a_killed_catcher_are_taken_away(tmp_path):
    (tmp_path / ".20261121T070000Z-ann-1234.eml.part").write_text("half a mess")
    (tmp_path / "20261121T070000Z-ann-1234.eml").write_text("a message")

    catcher.Outbox(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["20261121T070000Z-ann-1234.eml"]


def test_a_port_in_use_is_named():
    with catcher.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]

        with pytest.raises(PermanentError, match=rf"127\.0\.0\.1:{port}: Address already in use; .* --port"):
            catcher.listen("127.0.0.1", port)
