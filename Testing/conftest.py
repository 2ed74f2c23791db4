"""Settings of all tests: the same examples on every run, however slow the machine."""

from hypothesis import HealthCheck, settings

settings.register_profile("promptseg", derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("promptseg")
