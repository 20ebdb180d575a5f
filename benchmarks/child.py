"""Run a module's ``main`` with Django set up: ``python -m benchmarks.child MODULE ARGUMENT…``."""

import importlib
import sys

import django

if __name__ == "__main__":
    django.setup()
    importlib.import_module(sys.argv[1]).main(*sys.argv[2:])
