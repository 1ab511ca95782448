"""Settings for the project's own tests."""

from __future__ import annotations

import importlib
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Machines that also run guests under emulation are slow now and then: time is no part of what properties promise.
# "thorough" (`./dev tox -e properties`) draws six times as many examples: the fast tests shall stay fast.
settings.register_profile("imagecheck", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=300)
settings.load_profile("imagecheck")

# A job that a shell starts in the background ignores SIGINT, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def load(request):
    """Modules of tests/mutants, or of what the test's PROGRAM names: they are a program's and no package's."""
    folder = str(Path(__file__).parents[1] / getattr(request.module, "PROGRAM", "mutants"))
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)
    for file in Path(folder).glob("*.py"):
        sys.modules.pop(file.stem, None)
