"""Database containers from packages, for real: built by the element's own hook, started the way Trove starts them."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imagecheck import mirror, paths
from imagecheck.build.dib import SHIMS

pytestmark = [pytest.mark.sandbox, pytest.mark.skipif(os.geteuid() != 0, reason="chroot and mmdebstrap need root")]

ELEMENTS = paths.shipped("elements")
UID = "1001"  # database_service_uid of Trove
SECRET = "it's \\ a secret"  # what a shell, sed or SQL would take for something else
DATA = "/var/lib/{}/data"


@dataclass
class Container:
    """An unpacked container; `start` is what Docker would do for Trove's agent."""

    root: Path
    settings: dict
    env: dict = field(default_factory=dict)
    server: subprocess.Popen | None = None

    def command(self, *arguments: str) -> list[str]:
        env = dict(item.split("=", 1) for item in self.settings.get("Env", []))
        env = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **env, **self.env}
        return [
            "chroot", str(self.root), "env", "-i", *(f"{name}={value}" for name, value in env.items()),
            "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", *arguments,
        ]  # fmt: skip

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, timeout=30)

    def give(self, folder: str) -> None:
        """What the agent does with folders before it mounts them."""
        path = self.root / folder.lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, int(UID), int(UID))

    def start(self, *arguments: str) -> None:
        with (self.root / "server.log").open("a") as log:
            self.server = subprocess.Popen(
                self.command(*self.settings["Entrypoint"], *arguments), stdout=log, stderr=log
            )

    def stop(self) -> int | None:
        if self.server is None:
            return None
        self.server.send_signal(2 if self.settings.get("StopSignal") == "SIGINT" else 15)
        ended, self.server = self.server.wait(60), None
        return ended

    def log(self) -> str:
        return (self.root / "server.log").read_text()

    def until_healthy(self, *health: str) -> None:
        """Ask as Trove's health check does until the answer comes; the server must not end meanwhile."""
        assert self.server
        deadline = time.monotonic() + 60
        while (done := self.ask(*health)).returncode:
            assert self.server.poll() is None, self.log()
            assert time.monotonic() < deadline, done.stderr + self.log()
            time.sleep(0.2)


@contextlib.contextmanager
def built(element: str, tag: str, folder: Path, **more: str):
    """The container that the element's hook makes, unpacked, with /dev and /proc."""
    hooks, out, build = folder / "hooks", folder / "out", folder / "build"
    for name in ("docker-preload", "container-from-packages", element):
        shutil.copytree(ELEMENTS / name, hooks, dirs_exist_ok=True)
    build.mkdir()
    programs = folder / "bin"  # as a build has it: a bare host has no sudo
    programs.mkdir()
    shutil.copyfile(SHIMS / "sudo", programs / "sudo")
    (programs / "sudo").chmod(0o755)
    env = {
        "PATH": f"{programs}:{os.environ['PATH']}", "TMP_HOOKS_PATH": str(hooks), "TMP_BUILD_DIR": str(build),
        "ARCH": "amd64",
        "DIB_IMAGE_CACHE": str(folder), "DIB_RELEASE": "trixie", "DIB_DISTRIBUTION_MIRROR": mirror.debian(),
        "DIB_PYTHON_EXEC": sys.executable, "DIB_CONTAINER": tag, "DIB_CONTAINER_CARRIED": "pulled",
        "DIB_CONTAINER_OUT": str(out), "DIB_CONTAINER_CACHE_HOURS": "1", "DIB_CONTAINER_EXPIRED_ARCHIVE": "0", **more,
    }  # fmt: skip
    for hook in ("root.d/02-container-from-packages", "extra-data.d/50-container-from-packages"):
        done = subprocess.run([hooks / hook], env=env, capture_output=True, text=True, check=False, timeout=900)
        if "does not have a Release file" in done.stderr:
            pytest.skip("the archive in use has no sid")
        assert done.returncode == 0, done.stderr[-3000:]
    root = folder / "root"
    with tarfile.open(out / "container.tar") as archive:
        (image,) = json.load(archive.extractfile("manifest.json"))
        settings = json.load(archive.extractfile(image["Config"]))["config"]
        archive.extract("layer.tar", folder, filter="fully_trusted")
    root.mkdir()
    subprocess.run(["tar", "-C", root, "--numeric-owner", "-xf", folder / "layer.tar"], check=True)
    container = Container(root, settings)
    mounted = [root / "dev", root / "dev" / "shm", root / "proc"]
    try:
        for target, source in zip(mounted, ("/dev", "/dev/shm", "/proc"), strict=True):
            subprocess.run(["mount", "--bind", source, target], check=True)
        yield container
    finally:
        if container.server is not None:
            container.server.kill()
            container.server.wait(60)
        for target in reversed(mounted):
            subprocess.run(["umount", target], check=False)
        shutil.rmtree(root)


def test_postgresql_from_packages_serves_trove(tmp_path):
    with built("postgresql-container", "postgres:17", tmp_path) as container:
        for folder in ("/etc/postgresql", "/run/postgresql", DATA.format("postgresql") + "/pgdata"):
            container.give(folder)
        pgdata = DATA.format("postgresql") + "/pgdata"
        # The lines of Trove's template that depend on what is installed.
        (container.root / "etc/postgresql/postgresql.conf").write_text(
            f"data_directory = '{pgdata}'\nlisten_addresses = '127.0.0.1'\nport = 15432\nshared_buffers = 16MB\n"
            "dynamic_shared_memory_type = posix\nlc_messages = 'en_US.utf8'\nlc_monetary = 'en_US.utf8'\n"
            "default_text_search_config = 'pg_catalog.english'\ntimezone = 'Etc/UTC'\n"
        )
        container.env = {"POSTGRES_PASSWORD": SECRET, "PGDATA": pgdata, "PGPORT": "15432"}
        command = ("postgres", "-c", "config_file=/etc/postgresql/postgresql.conf")
        health = ("psql", "-U", "postgres", "-c", "select 1;")
        container.start(*command)
        container.until_healthy(*health)
        for reload in (("pg_ctl", "reload"), ("pg_ctl", "reload", "-D", pgdata), ("pg_rewind", "--version")):
            assert container.ask(*reload).returncode == 0
        assert container.ask("psql", "-U", "postgres", "-c", "CREATE DATABASE kept ENCODING 'UTF8'").returncode == 0
        over_tcp = ("psql", "-h", "127.0.0.1", "-U", "postgres", "-tAc", "SELECT count(*) FROM pg_database")
        container.env["PGPASSWORD"] = SECRET
        assert container.ask(*over_tcp).stdout == "4\n"
        assert container.stop() == 0
        container.start(*command)
        container.until_healthy(*health)
        assert container.ask(*over_tcp).stdout == "4\n", "a second start keeps what is there"
        assert container.log().count("filling") == 1
        assert container.stop() == 0


# What the containers of MariaDB and MySQL have in common.
def serves(container: Container, name: str) -> None:
    for folder in ("/run/mysqld", DATA.format("mysql")):
        container.give(folder)
    container.env = {"MYSQL_ROOT_PASSWORD": SECRET, "MYSQL_INITDB_SKIP_TZINFO": "1"}
    # The size of the first file is that of Trove's template.
    arguments = (
        "--datadir=" + DATA.format("mysql"), "--port=13306", "--socket=/run/mysqld/mysqld.sock",
        "--innodb-data-file-path=ibdata1:10M:autoextend",
    )  # fmt: skip
    asked = ("mysql", "-uroot", f"-p{SECRET}", "-N", "-e")
    container.start(*arguments)
    container.until_healthy(*asked, "select 1;")
    assert container.ask("mysql", "-uroot", "-e", "select 1;").returncode != 0, "root has no empty password"
    # The first statements of Trove's agent (BaseMySqlApp.secure and secure_root).
    for statement in (
        "CREATE USER 'os_admin'@'localhost' IDENTIFIED BY 'one'",
        "GRANT ALL PRIVILEGES ON *.* TO `os_admin`@`localhost` WITH GRANT OPTION",
        "DELETE FROM mysql.global_priv WHERE User = ''"
        if name == "mariadb"
        else "DELETE FROM mysql.user WHERE User = ''",
        "DROP USER IF EXISTS root@'%'",
        "CREATE DATABASE kept",
    ):
        done = container.ask(*asked, statement)
        assert done.returncode == 0, done.stderr
    container.stop()
    container.start(*arguments)
    container.until_healthy(*asked, "select 1;")
    found = container.ask(*asked, "SHOW DATABASES LIKE 'kept'; SELECT Host FROM mysql.user WHERE User = 'root'")
    assert found.stdout.split() == ["kept", "localhost"], "a second start keeps what is there, and makes no root anew"
    assert container.log().count("filling") == 1
    container.stop()


def test_mariadb_from_packages_serves_trove(tmp_path):
    with built("mariadb-container", "mariadb:11.8", tmp_path) as container:
        serves(container, "mariadb")


@pytest.fixture(scope="module")
def mysql(tmp_path_factory):
    # Snapshots of an archive keep sid's index beyond its date.
    folder = tmp_path_factory.mktemp("mysql")
    with built("mysql-container", "mysql:9.7", folder, DIB_CONTAINER_EXPIRED_ARCHIVE="1") as container:
        yield container


def test_mysql_from_packages_serves_trove_with_a_template_that_it_understands(mysql):
    serves(mysql, "mysql")


def test_mysql_9_refuses_what_trove_23_writes_into_its_configuration(mysql):
    """The known failure of mysql-debian: once this passes no more, the definition's entry can go."""
    data = DATA.format("mysql")
    if not (mysql.root / data.lstrip("/") / "mysql").exists():
        serves(mysql, "mysql")
    refused = ("default_authentication_plugin=mysql_native_password", "innodb_log_files_in_group=2",
               "innodb_log_file_size=50M")  # fmt: skip
    for option in refused:
        done = mysql.ask("mysqld", "--datadir=" + data, "--" + option)
        assert done.returncode != 0
        assert f"unknown variable '{option}'" in done.stdout + done.stderr
