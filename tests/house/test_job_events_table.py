"""The reference tells the event types of jobs that there are, and which source tells them."""

import pytest

from django_relay.sources import SOURCES, job_events
from tests.house import job_events_table


@pytest.mark.parametrize("block", job_events_table.BLOCKS)
def test_the_page_shows_what_the_code_says(block):
    rendered = job_events_table.BLOCKS[block]()
    assert job_events_table.written(block) == rendered, "run python -m tests.house.job_events_table"


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_reports_events_that_there_are(source):
    assert set(job_events_table.reports(source)) <= set(job_events.EVENTS)
    assert source in job_events_table.SOURCES
