"""Easy handles that wait for their next request."""

from collections import OrderedDict
from collections.abc import Callable

from django_relay.transport.kept_connections import Connections
from django_relay.transport.routes import Route
from django_relay.transport.transfers import Transfer


class Transfers:
    """Handles at rest. Setting one up for the route it served last costs least.

    Args:
        capacity: how many handles there are at most.
        opened: called with the descriptor of each socket that one of them opens.
    """

    def __init__(self, *, capacity: int, opened: Callable[[int], None]) -> None:
        self._left = capacity
        self._on_open = opened
        self._idle: OrderedDict[str, list[Transfer]] = OrderedDict()
        self._connections = Connections()

    def take(self, route: Route) -> Transfer:
        """Return a handle, best one that served the route."""
        idle = self._idle.get(route.name)
        if idle is None:
            if self._left > 0 or not self._idle:
                self._left -= 1
                return Transfer(self._connections, self._on_open)
            idle = next(iter(self._idle.values()))
        transfer = idle.pop()
        if not idle:
            del self._idle[transfer.name]
        return transfer

    def give_back(self, transfer: Transfer) -> None:
        """Let a handle rest."""
        self._idle.setdefault(transfer.name, []).append(transfer)

    def close(self) -> None:
        """Give all of them up."""
        for idle in self._idle.values():
            for transfer in idle:
                transfer.close()
        self._idle.clear()
