"""A project's tasks, for real workers: what :mod:`~tests.sources.job_functions` do, in whichever framework there is."""

try:
    from django.tasks import task
except ImportError:  # before Django 6
    from django_tasks import task

from tests.sources import job_functions


@task
def succeed(word="fine"):
    return job_functions.succeed(word)


@task
def fail():
    job_functions.fail()


@task
def flaky(folder):
    job_functions.flaky(folder)


@task
def die(folder):
    job_functions.die(folder)


@task
def emits(number):
    job_functions.emits(number)
