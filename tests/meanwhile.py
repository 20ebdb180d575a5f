"""What others do at the worst moment of a request."""

import functools

from django_relay.models import Endpoint


def delete_each_endpoint_once_found(monkeypatch, place, name):
    """Have others delete each endpoint right after ``place.name``, a function or a method, has found it."""
    find = getattr(place, name)

    @functools.wraps(find)
    def found(*args, **kwargs):
        endpoint = find(*args, **kwargs)
        Endpoint.objects.get(pk=endpoint.pk).delete()
        return endpoint

    monkeypatch.setattr(place, name, found)
