from django.apps import AppConfig


class LibraryConfig(AppConfig):
    name = "tests.sources.library"
    label = "library"
