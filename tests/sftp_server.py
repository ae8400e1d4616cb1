"""A real SFTP server on loopback, over a folder: one user with a password, and a key that clients can know."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED, SFTP_OK, SFTPAttributes, SFTPServer

USER, PASSWORD = "reports", "p@ss/word:1"


class Door(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        return AUTH_SUCCESSFUL if (username, password) == (USER, PASSWORD) else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002 - paramiko's signature
        return OPEN_SUCCEEDED


class Files(paramiko.SFTPServerInterface):
    """What the protocol asks of a file system; errors are told by their numbers."""

    root: Path

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in {"stat", "lstat", "list_folder", "open", "remove", "rename", "posix_rename", "mkdir"}:
            return found

        def telling(*arguments: Any) -> Any:
            try:
                return found(*arguments)
            except OSError as error:
                return SFTPServer.convert_errno(error.errno)

        return telling

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def stat(self, path: str) -> Any:
        return SFTPAttributes.from_stat(self.at(path).stat())

    lstat = stat

    def list_folder(self, path: str) -> Any:
        return [SFTPAttributes.from_stat(one.stat(), one.name) for one in self.at(path).iterdir()]

    def open(self, path: str, flags: int, attr: Any) -> Any:  # noqa: ARG002 - paramiko's signature
        handle = paramiko.SFTPHandle(flags)
        mode = "wb" if flags & (os.O_WRONLY | os.O_RDWR) else "rb"
        handle.readfile = handle.writefile = self.at(path).open(mode)
        handle.stat = lambda: self.stat(path)
        return handle

    def remove(self, path: str) -> int:
        self.at(path).unlink()
        return SFTP_OK

    def rename(self, old: str, new: str) -> int:
        self.at(old).rename(self.at(new))
        return SFTP_OK

    posix_rename = rename

    def mkdir(self, path: str, attr: Any) -> int:  # noqa: ARG002 - paramiko's signature
        self.at(path).mkdir()
        return SFTP_OK


class SftpServer:
    """`url` has no password; `known` is the line of a known_hosts file."""

    def __init__(self, root: Path) -> None:
        self.root, self.key, self.connections = root, paramiko.ECDSAKey.generate(), []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def known(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.key.get_name()} {self.key.get_base64()}\n"

    def _accept(self) -> None:
        files = type("Rooted", (Files,), {"root": self.root})
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.key)
            transport.set_subsystem_handler("sftp", SFTPServer, files)
            transport.start_server(server=Door(), event=threading.Event())
            self.connections.append(transport)

    def hang_up(self) -> None:
        for one in self.connections:
            one.close()

    def stop(self) -> None:
        with suppress(OSError):  # it is stopped already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.hang_up()


@pytest.fixture
def sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SftpServer]:
    """A server whose key this user knows, and whose password is in the environment."""
    (tmp_path / "files").mkdir()
    (tmp_path / "user" / ".ssh").mkdir(parents=True)
    server = SftpServer(tmp_path / "files")
    (tmp_path / "user" / ".ssh" / "known_hosts").write_text(server.known)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("SFTP_PASSWORD", PASSWORD)
    yield server
    server.stop()
