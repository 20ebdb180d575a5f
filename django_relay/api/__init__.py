"""The API (Django REST framework): what a customer's or a host's program can do.

::

    path("webhooks/api/v1/", include("django_relay.api.urls"))

``urls`` is the table of routes. In ``endpoints``, ``events`` and the other files named for a concept stand its
serializers and its views. Beneath them: ``resources`` (what every view does: who calls, what it may, what was given),
``fields`` (strict types), ``pages``, ``problems`` (RFC 9457), ``parsers``, ``authentication``, ``throttles``.
``schema`` describes it all as OpenAPI, where drf-spectacular is installed.

Nothing here depends on the project's ``REST_FRAMEWORK`` settings, and no view holds a rule of its own.
"""
