"""What a worker keeps of rows that it has read, for as long as they stay as they are."""

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Versioned(Generic[V]):
    """Values by key, each of one version of what it was made of; the least recently used go first.

    Whoever asks says which version is wanted, so that nothing is ever kept past a change.

    Args:
        most: how many values are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, tuple[str, V]] = OrderedDict()

    def get(self, key: str, version: str) -> V | None:
        """Return the value of this version; ``None`` if there is none, and for an empty version, which is unknown."""
        kept = self._kept.get(key)
        if kept is None or not version or kept[0] != version:
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def put(self, key: str, version: str, value: V) -> None:
        """Keep a value."""
        self._kept[key] = (version, value)
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
