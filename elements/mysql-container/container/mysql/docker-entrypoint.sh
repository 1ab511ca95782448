#!/bin/sh
# The official image's contract as far as Trove uses it, see README.rst. dash, because it starts at once.
set -eu

case ${1:-} in -*) set -- mysqld "$@" ;; esac
[ "${1:-}" = mysqld ] || exec "$@"
shift

option() { # the value of --NAME among the arguments, else from the configuration files
    name=$1 && shift
    for argument; do
        case $argument in "--$name="*) echo "${argument#*=}" && return ;; esac
    done
    my_print_defaults mysqld | sed -n "s/^--$(echo "$name" | sed "s/-/[-_]/g")=//p" | tail -n 1
}

# Reverse look-ups into a network without DNS hold every greeting up for seconds.
set -- --skip-name-resolve "$@"
[ "$(id -u)" != 0 ] || set -- --user=mysql "$@"

data=$(option datadir "$@")
data=${data:-/var/lib/mysql}
password=${MYSQL_ROOT_PASSWORD:-}

if [ ! -d "$data/mysql" ]; then
    if [ -z "$password" ]; then
        echo "docker-entrypoint: set MYSQL_ROOT_PASSWORD for the first start" >&2
        exit 1
    fi
    echo "docker-entrypoint: filling $data"
    mkdir -p "$data"
    # 'mysql' goes last: its presence means that all the rest is there.
    tar -xzf /usr/share/mysql/datadir.tar.gz -C "$data" --no-same-owner --exclude=./mysql
    touch "$data/.without-password"
    tar -xzf /usr/share/mysql/datadir.tar.gz -C "$data" --no-same-owner ./mysql
fi

# Else the server makes RSA keys for TLS, seconds of a guest under emulation. The one of caching_sha2_password stays:
# without it no client without TLS could log in.
if [ -z "$(option ssl-cert "$@")" ]; then
    [ -e "$data/.tls.pem" ] || (
        umask 077
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=MySQL \
            -keyout "$data/.tls.key" -out "$data/.tls.new" 2> /dev/null
        mv "$data/.tls.new" "$data/.tls.pem"
    )
    set -- "$@" "--ssl-key=$data/.tls.key" "--ssl-cert=$data/.tls.pem"
fi
[ "$(id -u)" != 0 ] || chown -R mysql: "$data"

# The first start's last statement makes this file (SELECT INTO OUTFILE is off in Trove's template).
[ ! -e "$data/mysqld-auto.cnf" ] || rm -f "$data/.without-password"
if [ -e "$data/.without-password" ]; then
    secret=$(printf %s "$password" | sed "s/[\\\\']/\\\\&/g")
    # A pipe: the password never lies in a file. The server reads it before it accepts a connection, and a start
    # that was interrupted before its last statement is simply repeated.
    exec 3<<SQL
ALTER USER root@localhost IDENTIFIED BY '$secret';
CREATE USER IF NOT EXISTS root@'%' IDENTIFIED BY '$secret';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
SET PERSIST_ONLY skip_name_resolve = ON;
SQL
    set -- "$@" --init-file=/dev/fd/3
fi
unset MYSQL_ROOT_PASSWORD password secret
exec mysqld "$@"
