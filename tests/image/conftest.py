"""What several files of checks ask for."""

import pytest

from imagecheck import container, inside


@pytest.fixture
def agent_unit(disk, definition):
    """The guest agent's unit; checks that need it say nothing where another has said that it is missing."""
    found = inside.unit(disk.tree, definition.agent.unit)
    if found is None:
        pytest.skip(f"{definition.agent.unit} is not in the image")
    return found


@pytest.fixture
def preloaded(disk, definition):
    """The database's container in Docker's store; skipped where the guest pulls it."""
    found = container.stored(disk.tree, definition.datastore.container)
    if found is None:
        pytest.skip(f"{definition.datastore.container} is not in the image's store")
    return found
