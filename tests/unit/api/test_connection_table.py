"""Table of connections: which one is closed for a newer one."""

from __future__ import annotations

from syncd.api.limits import connections
from syncd.api.limits.connections import ConnectionTable


def test_the_table_closes_the_oldest_of_the_address_that_has_the_most_and_never_what_is_proven() -> None:
    closed: list[str] = []
    table = ConnectionTable(["10.0.0.0/8"], closed.append)
    fakes = [Held(f"192.0.2.{n % 2}") for n in range(4)] + [Held("10.1.2.3") for _ in range(connections.ADDRESS_MAX)]
    for each in fakes:
        table.admit(each)  # type: ignore[arg-type]
    assert closed == []
    assert table.begin_proven(fakes[0])  # type: ignore[arg-type]
    greedy = [Held("198.51.100.7") for _ in range(connections.ADDRESS_MAX + 2)]
    for each in greedy:
        table.admit(each)  # type: ignore[arg-type]
    assert closed == ["198.51.100.7"] * 2
    assert [each.is_closed for each in greedy[:3]] == [True, True, False]
    many = [Held("10.9.9.9") for _ in range(connections.CONNECTIONS_MAX)]
    for each in many:
        table.admit(each)  # type: ignore[arg-type]
    assert not any(each.is_closed for each in (*fakes[:4], *greedy[3:]))
    table.end_proven(fakes[0])  # type: ignore[arg-type]
    for each in (*fakes, *greedy, *many):
        table.discard(each)  # type: ignore[arg-type]


class Held:
    """A connection of the table, without a socket."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.transport = self
        self.is_closed = False

    def abort(self) -> None:
        self.is_closed = True
