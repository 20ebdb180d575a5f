from tests.processes import _templates, stage

__all__ = ["_templates", "stage"]
