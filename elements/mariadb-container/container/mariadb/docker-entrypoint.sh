#!/bin/sh
# The official image's contract as far as Trove uses it, see README.rst. dash, because it starts at once.
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

# Reverse look-ups into a network without DNS hold every greeting up for seconds.
set -- --skip-name-resolve "$@"
[ "$(id -u)" != 0 ] || set -- --user=mysql "$@"

data=$(option datadir "$@")
data=${data:-/var/lib/mysql}
password=${MARIADB_ROOT_PASSWORD:-${MYSQL_ROOT_PASSWORD:-}}

if [ ! -d "$data/mysql" ] && [ -z "$password" ]; then
    echo "docker-entrypoint: set MARIADB_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD for the first start" >&2
    exit 1
fi
mkdir -p "$data"

# Without a certificate the server makes a large RSA key at every start: 8 s of a guest under emulation. Ours is made
# beside the data directory.
certificate=
if [ -z "$(option ssl-cert "$@")" ]; then
    [ -e "$data/.tls.pem" ] || {
        (
            umask 077
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=MariaDB \
                -keyout "$data/.tls.key" -out "$data/.tls.new" 2> /dev/null
            mv "$data/.tls.new" "$data/.tls.pem"
        ) &
        certificate=$!
    }
    set -- "$@" "--ssl-key=$data/.tls.key" "--ssl-cert=$data/.tls.pem"
fi

if [ ! -d "$data/mysql" ]; then
    echo "docker-entrypoint: filling $data"
    touch "$data/.without-password"
    tar -xf /usr/share/mariadb/datadir.tar -C "$data" --no-same-owner
    [ "$(id -u)" != 0 ] || chown -R mysql: "$data"
fi
[ -z "$certificate" ] || wait "$certificate"
[ "$(id -u)" != 0 ] || [ ! -e "$data/.tls.key" ] || chown mysql: "$data/.tls.key" "$data/.tls.pem"

if [ -e "$data/.without-password" ] && [ ! -e "$data/.with-password" ]; then
    secret=$(printf %s "$password" | sed "s/[\\\\']/\\\\&/g")
    # A pipe: the password never lies in a file. The server reads it before it accepts a connection; its last
    # statement leaves the mark that says so, and a start that was interrupted before is simply repeated.
    exec 3<<SQL
SET PASSWORD FOR root@localhost = PASSWORD('$secret');
CREATE USER IF NOT EXISTS root@'%' IDENTIFIED BY '$secret';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
SELECT 'done' INTO OUTFILE '$data/.with-password';
SQL
    set -- "$@" --init-file=/dev/fd/3
fi
unset MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD password secret
exec mariadbd "$@"
