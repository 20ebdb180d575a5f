"""The reference tells the event types of jobs that there are."""

from tests.house import job_events_table


def test_the_page_shows_every_type_and_field():
    assert job_events_table.written() == job_events_table.render(), "run python -m tests.house.job_events_table"
