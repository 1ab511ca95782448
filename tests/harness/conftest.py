"""Settings for the project's own tests."""

from __future__ import annotations

from hypothesis import settings

# Machines that also run guests under emulation are slow now and then: time is no part of what properties promise.
settings.register_profile("imagecheck", deadline=None)
settings.load_profile("imagecheck")
