"""Django's settings of a peer's project: ``PEER`` says whose, ``PEER_DATABASE`` (JSON) and ``PEER_BROKER`` where."""

import json
import os

PEER = os.environ["PEER"]
SECRET_KEY = "benchmarks"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": json.loads(os.environ["PEER_DATABASE"])}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop"]

if PEER == "django_webhook":
    INSTALLED_APPS += ["django_webhook"]
    DJANGO_WEBHOOK = {"MODELS": ["shop.Order"]}
if PEER == "drf_hooks":
    INSTALLED_APPS += ["rest_framework", "drf_hooks"]
    HOOK_EVENTS = {"order.created": "shop.Order.created+"}
