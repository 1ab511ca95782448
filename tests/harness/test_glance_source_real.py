"""An image that is in Glance already, by id, name and tag: against the sandbox's Glance."""

import os
import secrets

import pytest

from imagecheck import build, choice, imagefile, sandbox, site
from imagecheck.cloud import connection, glance
from imagecheck.cloud.ledger import Ledger
from imagecheck.errors import UsageError

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def cloud():
    named = os.environ.get("IMAGECHECK_TEST_SITE", "")
    return connection.connect(site.load(named) if named else sandbox.up(yes=True))


@pytest.fixture
def there(cloud, tmp_path):
    """A megabyte with a boot sector and noise, in Glance; and as it was before."""
    file = tmp_path / "small.raw"
    file.write_bytes(bytes(510) + b"\x55\xaa" + secrets.token_bytes(2**20 - 512))
    run = f"imagecheck-glance-{secrets.token_hex(3)}"
    ledger = Ledger.new(run, cloud.site, tmp_path)
    made = glance.upload(cloud, ledger, imagefile.inspect(file), name=run, run=run)
    cloud.admin.image.add_tag(made.id, run)
    yield made, run, imagefile.inspect(file)
    cloud.admin.image.delete_image(made.id)


def test_an_image_in_glance_is_found_by_id_name_and_tag_and_comes_whole(cloud, there, tmp_path):
    made, run, before = there
    for text in (f"glance:{made.id}", run, f"glance:tag:{run}"):
        assert glance.look_up(cloud, text).id == made.id
    image = glance.download(cloud, glance.look_up(cloud, run), tmp_path / "cache")
    assert (image.sha256, image.format, image.size) == (before.sha256, "raw", before.size)
    assert image.path.read_bytes() == before.path.read_bytes()


def test_a_name_that_is_not_there_gets_the_nearest_one(cloud, there):
    _, run, _ = there
    with pytest.raises(UsageError, match=run):
        glance.look_up(cloud, f"glance:{run}x")


def test_an_image_option_that_names_glance_is_fetched_when_its_road_is_walked(there):
    _, run, _ = there
    chosen = choice.image(f"glance:{run}", "mariadb:11.8")
    assert chosen.file is None
    assert chosen.definition.image_source == f"glance:{run}"
    assert build.cached(chosen.definition) is None
