from django.apps import AppConfig


class MarketConfig(AppConfig):
    name = "tests.sources.market"
    label = "market"
