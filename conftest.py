"""Loads imagecheck's pytest plugin when this checkout runs without being installed; nothing else."""

from importlib.metadata import entry_points

# An installed imagecheck (./dev installs it editable) is loaded by its entry point; twice would be an error.
if not entry_points(group="pytest11", name="imagecheck"):
    pytest_plugins = ["imagecheck.plugin"]
