from tests.processes import _templates, postgres_stage, stage

__all__ = ["_templates", "postgres_stage", "stage"]
