#!/bin/bash
# In the guest: functions of the scenes. @container@ and @good@ are filled in; the scenes themselves follow.
exec 2>&1
began=0
mkdir -p /var/provoked

baseline() {
    mkdir -p /etc/trove/conf.d
    cp /opt/provoke/guest_info.conf /opt/provoke/trove-guestagent.conf /etc/trove/conf.d/
    chown -R trove:trove /etc/trove/conf.d
    chmod 755 /etc/trove /etc/trove/conf.d
    chmod 644 /etc/trove/conf.d/*
}

drop() { # UNIT LINES: of its [Service]
    mkdir -p "/run/systemd/system/$1.service.d"
    printf '[Service]\n%b\n' "$2" > "/run/systemd/system/$1.service.d/90.conf"
    systemctl daemon-reload
}

undrop() {
    rm -rf "/run/systemd/system/$1.service.d"
    systemctl daemon-reload
    systemctl reset-failed "$1"
}

late() { # SECONDS since the scene began
    [ $((SECONDS - began)) -ge "$1" ]
}

settle() { # SECONDS
    timeout "$1" tail -f /dev/null
    true
}

agent() { # SECONDS on a machine that has its time: three times that at most, or four starts
    systemctl restart trove-guestagent
    while [ "$(systemctl show -P NRestarts trove-guestagent)" -lt 4 ] && ! late $(($1 * 3)); do settle 3; done
    systemctl stop trove-guestagent
    systemctl reset-failed trove-guestagent
}

serve() {
    "$@" &
    server=$!
    settle 8
}

served() {
    kill "$server"
    wait "$server"
}

restart_docker() { # [SECONDS]
    systemctl stop docker.socket docker
    systemctl restart --no-block docker
    settle "${1:-25}"
}

docker_again() {
    rm -f /etc/docker/daemon.json
    [ ! -f /opt/provoke/daemon.json ] || cp /opt/provoke/daemon.json /etc/docker/
    systemctl stop docker
    systemctl reset-failed docker docker.socket
    systemctl restart docker.socket docker
}

# The size that Trove's own settings name, with which the image's data directory was made.
mariadb="mariadbd --innodb-data-file-path=ibdata1:10M:autoextend"

database() { # OPTIONS SERVER-OPTIONS SECONDS
    # shellcheck disable=SC2086 # words
    docker run -d --name database -u 1001:1001 $1 @container@ $mariadb $2
    timeout "$3" docker wait database
    docker logs database
}

no_database() {
    docker rm -f database
}

database_made() {
    [ ! -e /srv/made ] || return 0
    rm -rf /srv/data
    mkdir -p /srv/data
    chown 1001:1001 /srv/data
    # shellcheck disable=SC2086 # words
    docker run -d --name first -u 1001:1001 @good@ @container@ $mariadb
    settle 60
    docker stop first
    docker rm first
    touch /srv/made
}

other_format() { # FILE: the format's number at its head, with the checksum (MariaDB 11.8, log0recv.cc, log_crypt.h)
    python3 - "$1" << 'END'
import sys

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF

with open(sys.argv[1], "r+b") as file:
    head = bytearray(file.read(512))
    head[:4] = (99).to_bytes(4, "big")
    head[508:] = crc32c(head[:508]).to_bytes(4, "big")
    file.seek(0)
    file.write(head)
END
}

drive() { # USER-DATA META-DATA
    rm -rf /opt/provoke/drive
    mkdir -p /opt/provoke/drive/openstack/latest
    printf '%b' "$1" > /opt/provoke/drive/openstack/latest/user_data
    printf '%s' "$2" > /opt/provoke/drive/openstack/latest/meta_data.json
    mke2fs -q -F -L config-2 -d /opt/provoke/drive /opt/provoke/drive.img 4M
    losetup -f --show /opt/provoke/drive.img > /opt/provoke/drive.loop
    udevadm settle
}

no_drive() {
    losetup -d "$(cat /opt/provoke/drive.loop)"
    udevadm settle
}

stages() { # cloud-init, as if this were its first boot
    rm -rf /var/lib/cloud /run/cloud-init /var/log/cloud-init.log
    mkdir -p /run/cloud-init
    cloud-init init --local
    cloud-init init
    cloud-init modules --mode config
    cloud-init modules --mode final
    true
}

[ ! -f /etc/docker/daemon.json ] || cp /etc/docker/daemon.json /opt/provoke/
systemctl stop trove-guestagent
baseline
mkdir -p /etc/systemd/system/trove-guestagent.service.d
printf '[Service]\nRestartSec=1\n' > /etc/systemd/system/trove-guestagent.service.d/80.conf
systemctl daemon-reload
