"""The people of these tests: Alice and Bob work for one tenant, Charlie for another and must never see theirs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    name: str
    tenant_id: str

    @property
    def url(self):
        """Where this person's receiver listens."""
        return f"https://{self.name.lower()}.example/webhooks"


ALICE = Person("Alice", "acme")
BOB = Person("Bob", "acme")
CHARLIE = Person("Charlie", "globex")
