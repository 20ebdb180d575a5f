"""What the pieces cost, measured: ``python -m benchmarks [names…]``, or ``make bench``.

=========  =======================================================================  ===============================
name       measures                                                                 against, in the same run
=========  =======================================================================  ===============================
drain      deliveries/s and CPU of a backlog of due deliveries                      ``limit`` and one q2 task each
latency    commit → arrival of single events                                        a bare LISTEN → POST loop
emit       what emitting costs the caller                                           a plain ``save()`` of the row
fan_out    one event → 1, 100, 10,000 endpoints                                     -
noisy      good endpoints beside ones that hang; open transactions meanwhile        the same without those that hang
backlog    claiming, and a worker's memory, with 10^4 to 10^7 rows waiting          the smallest of them
pace       endpoints with a rate limit; ``Retry-After``                             the limit
peers      model saves → all received                                               django-webhook, drf-hooks
=========  =======================================================================  ===============================

Each benchmark is a module (or package) with a ``run(stage, scale)`` that returns a :class:`benchmarks.report.Result`.
They share ``stage`` (PostgreSQL, processes, CPU), ``receiver`` (the judge), ``work`` (rows to begin with), ``engine``
(the few places that call inside the engine) and ``report``. ``limit``, ``listener``, ``idiom`` and ``emitter`` are what
runs in the processes started beside the workers.
"""
