"""imagecheck: can this guest image go into production under OpenStack Trove, and how fast does it launch?"""

__version__ = "0.1.0"
