#!/bin/sh
# The official image's contract as far as Trove uses it, see README.rst. dash, because it starts at once.
set -eu

case ${1:-} in -*) set -- postgres "$@" ;; esac
[ "${1:-}" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres: "$PGDATA" /run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

password=${POSTGRES_PASSWORD:-}
unset POSTGRES_PASSWORD
# The mark goes last: a first start that was interrupted is simply repeated.
if [ ! -s "$PGDATA/PG_VERSION" ] || [ -e "$PGDATA/.without-password" ]; then
    if [ -z "$password" ]; then
        echo "docker-entrypoint: set POSTGRES_PASSWORD for the first start" >&2
        exit 1
    fi
    echo "docker-entrypoint: filling $PGDATA"
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA"
    touch "$PGDATA/.without-password"
    tar -xzf /usr/share/postgresql/datadir.tar.gz -C "$PGDATA" --no-same-owner
    # Without the settings of the command line: they may name a host or an archive that has nothing to do with this.
    secret=$(printf %s "$password" | sed "s/'/''/g")
    printf "ALTER USER postgres PASSWORD '%s';\n" "$secret" |
        postgres --single -D "$PGDATA" -c log_statement=none -c archive_mode=off postgres > /dev/null
    rm "$PGDATA/.without-password"
fi
unset password secret
exec "$@"
