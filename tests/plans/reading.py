"""How many rows statements read, by PostgreSQL's own count of what their plans did."""

import itertools
import re
from contextlib import contextmanager

from django.db import connection
from django.test.utils import CaptureQueriesContext


@contextmanager
def selects():
    """Give a list that holds, after the block, the SELECTs made in it."""
    made = []
    with CaptureQueriesContext(connection) as captured:
        yield made
    made += [query["sql"] for query in captured.captured_queries if query["sql"].lstrip("( \n").startswith("SELECT")]


def rows_read(sql):
    """Return how many rows the scans of a statement's plan read, those they threw away included, and the plan."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {sql}")
        plan = [row[0] for row in cursor.fetchall()]
    read = 0.0
    for number, line in enumerate(plan):
        scan = re.search(r"Scan.*actual time=.* rows=([\d.]+) loops=(\d+)", line)
        if scan and "Subquery Scan" not in line and "Bitmap Heap" not in line:
            details = itertools.takewhile(lambda text: "->" not in text, plan[number + 1 :])
            thrown = re.search(r"Rows Removed by Filter: (\d+)", " ".join(details))
            read += (float(scan[1]) + (int(thrown[1]) if thrown else 0)) * int(scan[2])
    return read, "\n".join(plan)
