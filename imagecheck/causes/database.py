"""Causes that MySQL, MariaDB and PostgreSQL, or their containers' entry points, tell of. Data only."""

from __future__ import annotations

from imagecheck.causes.row import Place, Row

_ALL: tuple[Place, ...] = ("container", "journal")
_OWNER = "the data directory must belong to 1001:1001 (database_service_uid) before the container starts"

ROWS = (
    Row("data-denied", "service", "image", 61, "the database may not write its data directory: {what}", _OWNER,
        "MySQL, sql/mysqld.cc; MariaDB, storage/innobase/os/os0file.cc; PostgreSQL, src/backend/utils/init/miscinit.c",
        _ALL, ("Errcode: 13", "OS errno 13", "must be writable", "\": Permission denied", "has wrong ownership",
               "has invalid permissions"),
        r"(?P<what>(?:Errcode: 13|OS errno 13)\b.{0,40}|The innodb_system data file '[^']{1,60}' must be writable"
        r"|FATAL:  (?:could not \w{2,12} (?:file|directory|lock file) \"[^\"]{1,120}\": Permission denied"
        r"|data directory \"[^\"]{1,120}\" has (?:wrong ownership|invalid permissions)))", confidence="certain",
        fatal=True, proven=True),
    Row("entry-point-denied", "service", "image", 60, "the container's entry point may not prepare its folders: {what}",
        _OWNER, "docker-library, docker-entrypoint.sh; coreutils", ("container",),
        ("chown: ", "mkdir: ", "chmod: ", "initdb: error: ", "tar: "),
        r"(?P<what>(?:chown|mkdir|chmod|tar|initdb: error): [^:]{1,120}: (?:Cannot (?:mkdir|open): )?"
        r"(?:Permission denied|Operation not permitted))",
        fatal=True, proven=True),
    Row("data-not-empty", "service", "image", 60, "the database's data directory is not empty: {what}",
        "what does the image or the volume bring there? ext4's lost+found needs a subfolder as data directory",
        "MySQL, sql/sql_initialize.cc; PostgreSQL, src/bin/initdb/initdb.c", _ALL,
        ("the data directory has files in it", "exists but is not empty"),
        r"(?P<what>--initialize specified but the data directory has files in it"
        r"|directory \"[^\"]{1,120}\" exists but is not empty)", confidence="certain", fatal=True),
    Row("data-other-version", "service", "image", 62, "the data directory was written by another version: {what}",
        "a datastore version may only get data of the same major version",
        "MySQL, sql/dd/upgrade; MariaDB, storage/innobase/log/log0recv.cc; PostgreSQL, miscinit.c", _ALL,
        ("Invalid MySQL server upgrade", "Cannot boot server version", "Unsupported redo log format",
         "database files are incompatible with server", "Upgrade after a crash is not supported"),
        r"(?P<what>Invalid MySQL server upgrade: .{1,120}|Cannot boot server version .{1,120}"
        r"|Unsupported redo log format.{0,80}|database files are incompatible with server"
        r"|Upgrade after a crash is not supported.{0,60})", confidence="certain", fatal=True, proven=True),
    Row("unknown-setting", "service", "image", 63, "the database does not know the setting {what}",
        "Trove's template for this datastore sets what this version no longer has: give it its own below template_path",
        "MySQL, mysys/my_getopt.cc; PostgreSQL, src/backend/utils/misc/guc-file.l; trove/templates", _ALL,
        ("unknown variable '", "unknown option '", "unrecognized configuration parameter"),
        r"(?:unknown (?:variable|option) '(?P<what>[^']{1,120})'"
        r"|unrecognized configuration parameter \"(?P<pg>[^\"]{1,80})\")", confidence="certain", fatal=True, times=1,
        proven=True),
    Row("database-memory", "service", "image", 59, "the database gets no memory: {what}",
        "give the definition's [needs] ram_mib more, or make innodb_buffer_pool_size or shared_buffers smaller",
        "MySQL, storage/innobase/buf/buf0buf.cc; PostgreSQL, src/backend/port/sysv_shmem.c", _ALL,
        ("Cannot allocate memory", "Cannot map innodb_buffer_pool_size", "Out of memory (Needed"),
        r"(?P<what>(?:InnoDB: .{0,60}|FATAL:  could not map anonymous shared memory.{0,40}"
        r"|mmap\(.{1,60} failed; errno 12.{0,20})Cannot allocate memory.{0,60}"
        r"|InnoDB: Cannot map innodb_buffer_pool_size\w{0,4}=\w{1,20}|mariadbd: Out of memory \(Needed .{1,40})",
        confidence="certain", fatal=True, proven=True),
    Row("data-locked", "service", "image", 58, "another server holds the database's files: {what}",
        "do not install or enable a database server in the guest itself", "MySQL, storage/innobase/os/os0file.cc; "
        "PostgreSQL, src/backend/utils/init/miscinit.c", _ALL,
        ("Unable to lock ./ibdata1", "lock file \"postmaster.pid\" already exists"),
        r"(?P<what>Unable to lock \./ibdata1|lock file \"postmaster\.pid\" already exists)", confidence="certain",
        times=2, proven=True),
    Row("no-root-password", "service", "image", 60, "the container's entry point got no password for the administrator",
        "it must take MYSQL_ROOT_PASSWORD or POSTGRES_PASSWORD, which the agent sets",
        "docker-library, docker-entrypoint.sh; trove/guestagent/datastore/mysql_common/service.py start_db, 2025.1",
        _ALL, ("Database is uninitialized and", "docker-entrypoint: set "),
        r"Database is uninitialized and (?:password option is not specified|superuser password is not specified)"
        r"|docker-entrypoint: set \w{4,30}_PASSWORD .{0,40}for the first start",
        confidence="certain", fatal=True, proven=True),
    Row("setting-file-broken", "service", "image", 57, "the database cannot read its configuration: {what}",
        "look at what lies below /etc/mysql or /etc/postgresql in the guest; Trove mounts it over the container's own",
        "MySQL, mysys/my_default.cc; PostgreSQL, guc-file.l", _ALL,
        ("Found option without preceding group", "Can't read dir of ", "configuration file \"",
         "could not open configuration file"),
        r"(?P<what>Found option without preceding group in config file.{0,100}|Can't read dir of '[^']{1,100}'"
        r"|configuration file \"[^\"]{1,100}\" contains errors|could not open configuration file \"[^\"]{1,100}\")",
        confidence="certain", fatal=True, proven=True),
    Row("library-missing", "service", "image", 59, "the database lacks a library: {what}",
        "the container is incomplete: install what it names", "ld.so(8)", _ALL,
        ("error while loading shared libraries", "could not load library", "could not access file \""),
        r"(?P<what>error while loading shared libraries: .{1,120}|could not load library .{1,120}"
        r"|could not access file \"[^\"]{1,100}\": No such file or directory)", confidence="certain", fatal=True,
        proven=True),
    Row("program-missing-in-container", "service", "image", 58, "the container lacks the program {what}",
        "the entry point, mysqld (or postgres) and the client that Trove's health check calls must be in it",
        "runc, libcontainer; docker exec", ("docker", "agent", "journal", "container"),
        ("executable file not found in $PATH",),
        r"exec: \\?\"(?P<what>(?!apparmor_parser|ip6?tables)[^\"\\]{1,60})\\?\": executable file not found in \$PATH",
        proven=True),
    Row("database-crashed", "service", "image", 43, "the database crashed: {what}", "its log has a stack trace below; "
        "suspect the CPU model under emulation", "MySQL, sql/signal_handler.cc; PostgreSQL, postmaster.c", _ALL,
        ("got signal ", "was terminated by signal"),
        r"(?P<what>(?:mysqld|mariadbd) got (?:exception|signal) \w{1,12}"
        r"|process \(PID \d+\) was terminated by signal \d+)", confidence="certain", proven=True),
    Row("data-damaged", "service", "cloud", 51, "the database's files are damaged: {what}", "look at the storage below "
        "the data disk", "MySQL, storage/innobase/buf; PostgreSQL, src/backend/storage/page", _ALL,
        ("page corruption", "tablespace is corrupted", "invalid page in block", "Operating system error number 5 "),
        r"(?P<what>Database page corruption.{0,80}|Page read from tablespace is corrupted|invalid page in block.{0,80}"
        r"|Operating system error number 5 .{0,60})",
        retry=True, proven=True),
)  # fmt: skip
