#!/bin/sh
# What Trove relies on: any uid, a data folder that may be empty, options as arguments. dash, because it starts at once.
set -eu

case ${1:-} in
    -*) set -- @NAME@-server "$@" ;;
esac
# Another program of the container, as `docker run CONTAINER sh` asks for it.
[ "${1:-}" = @NAME@-server ] || exec "$@"
shift

data=/var/lib/@NAME@
if [ "$(id -u)" = 0 ]; then
    chown 1001:1001 "$data"
    exec setpriv --reuid=1001 --regid=1001 --clear-groups "$0" @NAME@-server "$@"
fi

if [ ! -e "$data/.filled" ]; then
    echo "docker-entrypoint: filling $data"
    # YOUR FIRST START: unpack what customize made, set the password. The mark goes last, so that a start which was
    # interrupted is repeated.
    touch "$data/.filled"
fi

# exec: Docker's SIGTERM goes to the server itself.
exec @NAME@-server "$@"
