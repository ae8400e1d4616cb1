"""Copies on a real SFTP server: whole or not at all, over one connection, to a server that is known."""

from __future__ import annotations

import pytest

from pipeline.adapters import remote_folder
from pipeline.adapters.copies import check_pattern, copy_to
from pipeline.destinations import Folder
from pipeline.errors import DefinitionError, PermanentError, TransientError
from tests.sftp_server import PASSWORD, SftpServer, sftp
from tests.unit.adapters.test_copies import VALUES

__all__ = ["sftp"]


@pytest.fixture(autouse=True)
def _no_connection_of_another_test(home):
    remote_folder._connections.clear()


def folder(sftp: SftpServer, rest="inbox/{period}/", **said):
    return Folder(folder=f"sftp://reports:$SFTP_PASSWORD@127.0.0.1:{sftp.port}/{rest}", **said)


def files(sftp):
    return {str(one.relative_to(sftp.root)): one.read_bytes() for one in sftp.root.rglob("*") if one.is_file()}


def test_copies_appear_whole_over_one_connection_and_are_not_overwritten_unless_told(sftp, tmp_path):
    source = tmp_path / "globex.pdf"
    source.write_bytes(b"x" * 100_000)
    url = copy_to(folder(sftp), VALUES, b"report")
    assert PASSWORD not in url
    copy_to(folder(sftp), {**VALUES, "key": "Globex"}, source)
    copy_to(folder(sftp), VALUES, b"report")
    with pytest.raises(PermanentError, match="is there with other content and was not overwritten"):
        copy_to(folder(sftp), VALUES, b"revised")
    copy_to(folder(sftp, overwrite=True), {**VALUES, "key": "Globex"}, b"revised")

    assert files(sftp) == {"inbox/2026-W46/ACME.pdf": b"report", "inbox/2026-W46/Globex.pdf": b"revised"}
    assert len(sftp.connections) == 1


def test_a_connection_that_was_lost_is_made_anew(sftp):
    copy_to(folder(sftp), VALUES, b"report")
    sftp.hang_up()
    with pytest.raises(TransientError, match=r"sftp://reports:\*\*\*@127\.0\.0\.1:\d+/inbox"):
        copy_to(folder(sftp), {**VALUES, "key": "Globex"}, b"report")
    copy_to(folder(sftp), {**VALUES, "key": "Globex"}, b"report")
    assert len(files(sftp)) == 2


def test_one_that_was_idle_is_not_trusted(sftp, monkeypatch):
    copy_to(folder(sftp), VALUES, b"report")
    sftp.hang_up()
    monkeypatch.setattr(remote_folder, "IDLE", 0.0)
    copy_to(folder(sftp), {**VALUES, "key": "Globex"}, b"report")
    assert len(files(sftp)) == 2


def test_nothing_is_told_to_a_server_that_is_not_known(sftp, tmp_path):
    (tmp_path / "user" / ".ssh" / "known_hosts").write_text("")
    with pytest.raises(TransientError, match=r"key of \[127\.0\.0\.1\]:\d+ is not in .*known_hosts: compare it"):
        copy_to(folder(sftp), VALUES, b"report")
    assert files(sftp) == {}


def test_a_wrong_password_and_a_server_that_is_away_are_sentences(sftp, monkeypatch):
    monkeypatch.setenv("SFTP_PASSWORD", "wrong")
    with pytest.raises(TransientError, match="cannot be reached: Authentication failed"):
        copy_to(folder(sftp), VALUES, b"report")
    sftp.stop()
    with pytest.raises(TransientError, match=r"cannot be reached: .*Unable to connect"):
        copy_to(folder(sftp), VALUES, b"report")


def test_a_check_connects_nowhere(sftp, monkeypatch):
    check_pattern(folder(sftp).folder)
    assert sftp.connections == []
    monkeypatch.delenv("SFTP_PASSWORD")
    with pytest.raises(DefinitionError, match=r"needs \$SFTP_PASSWORD"):
        check_pattern(folder(sftp).folder)
