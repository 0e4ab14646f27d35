"""Makes the suite's plugin available in a clone that was not installed."""

pytest_plugins = ["attnres_core.plugin"]
