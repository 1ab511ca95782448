"""OpenStack as imagecheck uses it: connect, look before touching, make, write down, remove."""
