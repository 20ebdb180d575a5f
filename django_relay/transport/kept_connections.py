"""What there is to know of the connections that libcurl keeps: it neither tells nor looks before it uses one again."""

import select
from dataclasses import dataclass, field

MAX_REMEMBERED = 4_096
"""Of how many routes it is remembered that they speak HTTP/2."""


@dataclass(slots=True, eq=False)
class Connection:
    """One connection, in use or kept."""

    descriptor: int
    users: int = 0
    is_shared: bool = True
    """It speaks HTTP/2, or has not answered yet. Over HTTP/1 an answered request counts until its end is seen."""
    is_doubtful: bool = False
    _poll: select.poll = field(init=False, default_factory=select.poll)

    def __post_init__(self) -> None:
        self._poll.register(self.descriptor, select.POLLIN)

    @property
    def is_stale(self) -> bool:
        """Return whether it may not be used again: closed by the other side, or bytes came that nobody asked for."""
        if self.is_shared and self.users:
            return False  # HTTP/2: it has others' answers to bring
        return self.is_doubtful or bool(self._poll.poll(0))


class Connections:
    """The connections of one multiplexer, by the addresses and ports of their ends."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], Connection] = {}
        self._ends: dict[int, tuple[object, ...]] = {}
        self._multiplexed: dict[str, None] = {}

    def learn(self, name: str, *, is_multiplexed: bool) -> None:
        """Take note of whether a route's receiver speaks HTTP/2."""
        if not is_multiplexed:
            self._multiplexed.pop(name, None)
        elif name not in self._multiplexed:
            if len(self._multiplexed) >= MAX_REMEMBERED:
                del self._multiplexed[next(iter(self._multiplexed))]
            self._multiplexed[name] = None

    def is_multiplexed(self, name: str) -> bool:
        """Return whether a route's receiver spoke HTTP/2 when it was last heard of."""
        return name in self._multiplexed

    def add(self, ends: tuple[object, ...], descriptor: int) -> Connection:
        """Take note of a new connection; whatever had its descriptor before is closed."""
        if (before := self._ends.get(descriptor)) is not None:
            self._found.pop(before, None)
        self._ends[descriptor] = ends
        connection = self._found[ends] = Connection(descriptor)
        return connection

    def get(self, ends: tuple[object, ...]) -> Connection | None:
        """Return a connection that was made before."""
        return self._found.get(ends)
