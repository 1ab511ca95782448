"""Stands in for networkx until a graph is made, and then loads it.

diskimage-builder starts Python about ten times for a build; nine of them make no graph and would load all of networkx'
algorithms for nothing, more than half a second each.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

_HERE = str(Path(__file__).parent)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    sys.path[:] = [place for place in sys.path if place != _HERE]
    sys.modules.pop("networkx", None)
    return getattr(importlib.import_module("networkx"), name)
