"""pip for another Python: python guest_pip.py VERSION PIP-ARGUMENTS.

``pip download --python-version`` picks the other Python's wheels, but reads the conditions of requirements
(``; python_version >= "3.13"``) for the Python it runs on, and so forgets what only the other one needs.
"""

import sys

from pip._internal.cli.main import main
from pip._vendor.packaging import markers

version = sys.argv.pop(1)
own = markers.default_environment
guest = {"python_version": ".".join(version.split(".")[:2]), "python_full_version": version}
markers.default_environment = lambda: {**own(), **guest}
sys.exit(main())
