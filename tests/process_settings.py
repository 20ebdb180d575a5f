"""Settings of the processes that tests start: the example's, changed by a JSON in the environment (see processes.py).

A short lease is an error to the checks, on purpose; tests silence it to be done in seconds. It still outlasts an attempt.
"""

import json
import os

from example_project.settings import *  # noqa: F403
from example_project.settings import DJANGO_RELAY as EXAMPLE_RELAY
from example_project.settings import Q_CLUSTER as EXAMPLE_CLUSTER

Q_CLUSTER = {**EXAMPLE_CLUSTER, **json.loads(os.environ.get("RELAY_TEST_CLUSTER", "{}"))}
DJANGO_RELAY = {**EXAMPLE_RELAY, **json.loads(os.environ.get("RELAY_TEST_SETTINGS", "{}"))}
SILENCED_SYSTEM_CHECKS = ["django_relay.E003"]
globals().update(json.loads(os.environ.get("RELAY_TEST_DJANGO", "{}")))
