"""Management commands, all with the prefix ``relay_``."""
