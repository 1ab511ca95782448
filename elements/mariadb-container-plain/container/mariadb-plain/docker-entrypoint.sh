#!/bin/sh
# The steps of the official image (docker-entrypoint.sh of docker-library/mariadb 11.8).
set -eu

case ${1:-} in
    -*) set -- mariadbd "$@" ;;
    mysqld) shift; set -- mariadbd "$@" ;;
esac
[ "${1:-}" = mariadbd ] || exec "$@"
shift

option() { # the value of --NAME among the arguments, else from the configuration files
    name=$1 && shift
    for argument; do
        case $argument in "--$name="*) echo "${argument#*=}" && return ;; esac
    done
    my_print_defaults --mysqld | sed -n "s/^--$(echo "$name" | sed "s/-/[-_]/g")=//p" | tail -n 1
}

# The official image has this in its configuration.
set -- --skip-name-resolve "$@"
[ "$(id -u)" != 0 ] || set -- --user=mysql "$@"
data=$(option datadir "$@")
data=${data:-/var/lib/mysql}
password=${MARIADB_ROOT_PASSWORD:-${MYSQL_ROOT_PASSWORD:-}}

if [ ! -e "$data/.with-password" ]; then
    if [ -z "$password" ]; then
        echo "docker-entrypoint: set MARIADB_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD for the first start" >&2
        exit 1
    fi
    echo "docker-entrypoint: making the system tables in $data"
    mkdir -p "$data"
    mariadb-install-db --datadir="$data" --rpm --auth-root-authentication-method=normal --skip-test-db "$@"
    [ "$(id -u)" != 0 ] || chown -R mysql: "$data"
    socket=/run/mysqld/first.sock
    mariadbd "$@" --skip-networking --socket="$socket" &
    server=$!
    until mariadb --protocol=socket -uroot --socket="$socket" -e "SELECT 1" > /dev/null 2>&1; do
        kill -0 "$server"
        sleep 1
    done
    mariadb-tzinfo-to-sql --skip-write-binlog /usr/share/zoneinfo |
        mariadb --protocol=socket -uroot --socket="$socket" --database=mysql
    secret=$(printf %s "$password" | sed "s/[\\\\']/\\\\&/g")
    mariadb --protocol=socket -uroot --socket="$socket" <<SQL
SET PASSWORD FOR root@localhost = PASSWORD('$secret');
CREATE USER IF NOT EXISTS root@'%' IDENTIFIED BY '$secret';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
SQL
    kill "$server"
    wait "$server"
    touch "$data/.with-password"
fi
unset MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD password secret
exec mariadbd "$@"
