"""A customer's side: a small HTTP server that verifies what it gets with ``standardwebhooks`` and keeps a record.

``python -m example_project.receiver --secret whsec_…`` prints ``{"url": …, "port": …, "pid": …}`` when it is ready,
then one JSON line a request (see ``records.py``), and can be told at run time to fail, to be slow or to hold requests
open::

    curl -d '{"answer": 500}' http://127.0.0.1:8001/__control__

It knows nothing of Django and nothing of django_relay. Programs start and steer it with ``remote.Receiver``.
"""
