"""What hosts put between Django and the database (``connection.execute_wrapper``)."""

from django.db import connection


def telling(execute, sql, params, many, context):
    """Put a statement of its own before each, as django-pghistory does for PostgreSQL's triggers."""
    if connection.vendor != "postgresql" or getattr(context["cursor"], "name", ""):
        return execute(sql, params, many, context)
    found = execute(f"SELECT set_config('shop.user', '1', true); {sql}", params, many, context)
    while context["cursor"].nextset():
        pass
    return found
