"""A database that is busy or gone: every page of ours says so, calmly, as the API and the portal do."""

import functools
import logging
from collections.abc import Callable
from typing import Any

from django.db import Error
from django.http import HttpResponse, HttpResponseBase
from django.template.loader import render_to_string

from django_relay.models import writing

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponseBase]


def calm(view: View) -> View:
    """Return the view; what the database may take later is answered with 503, on a page that reads nothing.

    The view must be a site's, with its look at who asks: that reads the database, too.
    """

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(*args, **kwargs)
        except Error as error:
            if not writing.is_unavailable(error):
                raise
            return _page(error)

    return answer


def _page(error: Error) -> HttpResponse:
    extra = {"event": "admin.database_busy"}
    logger.warning("admin.database_busy %s", writing.reason_of(error), extra=extra)
    text = render_to_string("admin/django_relay/busy.html")  # no request: the site's context would ask the database
    headers = {"Retry-After": str(writing.BUSY_SECONDS), "Cache-Control": "no-store"}
    return HttpResponse(text, status=503, headers=headers)
