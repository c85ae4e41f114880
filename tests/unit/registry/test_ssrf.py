"""SSRF guard: allowed and forbidden addresses."""

from __future__ import annotations

import socket

import pytest
from syncd.errors import Invalid, Unavailable
from syncd.http.ssrf import AddressGuard, lookup

NAMES = {"home": ["203.0.113.5"], "here": ["127.0.0.1"], "both": ["203.0.113.7", "169.254.169.254"]}


def found(host: str) -> list[str]:
    return NAMES.get(host, [host])


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "100.100.100.200",
        "fd00:ec2::254",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "::ffff:100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "64:ff9b::6464:64c8",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "::100.100.100.200",
        "2002:6464:64c8::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "::ffff:127.0.0.1",
        "both",
        "here",
    ],
)
def test_a_forbidden_address_is_refused_by_name(address: str) -> None:
    with pytest.raises(Invalid) as caught:
        AddressGuard("home", found).check_host(address)
    assert address in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("host", ["1684301000", "0x646464c8", "0144.0144.0144.0310", "100.100.25800", "127.1", "0"])
def test_an_address_is_known_however_it_is_written(host: str) -> None:
    with pytest.raises(Invalid, match=r"100\.100\.100\.200|127\.0\.0\.1|0\.0\.0\.0"):
        AddressGuard("203.0.113.5").check_host(host)


@pytest.mark.parametrize(
    "address",
    ["203.0.113.9", "10.1.2.3", "192.168.0.1", "2001:db8::1", "64:ff9b::cb00:7109", "2002:cb00:7109::1", "home"],
)
def test_another_host_is_gone_to(address: str) -> None:
    AddressGuard("home", found).check_host(address)


def test_this_machine_is_gone_to_from_a_registry_that_is_on_it() -> None:
    AddressGuard("here", found).check_host("127.0.0.1")
    with pytest.raises(Invalid):
        AddressGuard("here", found).check_host("169.254.169.254")


def test_a_name_that_leads_elsewhere_the_second_time_is_refused_when_it_is_connected_to() -> None:
    there = AddressGuard("home", found)
    there.check_host("203.0.113.9")
    with pytest.raises(Invalid, match=r"rebound.*169\.254\.169\.254"):
        there.check_address("rebound", "169.254.169.254")


def test_the_machines_own_resolver_is_used() -> None:
    assert "127.0.0.1" in lookup("127.0.0.1")
    assert set(lookup("localhost")) & {"127.0.0.1", "::1"}


@pytest.mark.parametrize("host", ["nothing.invalid", "x" * 300, "a..b"])
def test_a_name_that_leads_nowhere_is_unavailable(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def offline(name: str, *rest: object, **more: object) -> object:
        if name == "nothing.invalid":
            raise socket.gaierror(-2, "Name or service not known")
        return real(name, *rest, **more)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    with pytest.raises(Unavailable) as caught:
        lookup(host)
    assert caught.value.hint
