"""Notifications to systemd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from syncd.daemon.health import notify


def test_the_message_reaches_the_notify_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "s"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "s"))
        assert notify("READY=1")
        assert systemd.recv(100) == b"READY=1"


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"syncd-test-{tmp_path}"[-90:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify("WATCHDOG=1")
        assert systemd.recv(100) == b"WATCHDOG=1"


def test_a_missing_socket_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")
