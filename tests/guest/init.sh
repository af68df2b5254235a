#!/bin/busybox sh
# The guest's first process: puts its root together, and goes on with /begin.sh there.
#
# The root is the other machine's, read-only, with a layer in memory above it; what agents and
# containers write is on file systems in memory, for overlays are not made of overlays.
b=/bin/busybox
fail() {
    echo "guest: $1"
    $b reboot -f
}
$b mkdir -p /proc /host /top /root
for module in /modules/*; do $b insmod "$module" || fail "$module cannot be loaded"; done
$b mount -t virtiofs host /host || fail "the files of the other machine cannot be had"
$b mount -t tmpfs -o size=80% top /top
$b mkdir -p /top/upper /top/work
$b mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work root /root ||
    fail "no overlay over the files of the other machine"
cd /root || fail "no root"
$b mkdir -p proc sys dev run tmp var/tmp lib/modules
$b mount -t proc proc proc
$b mount -t sysfs sys sys
$b mount -t cgroup2 cgroup2 sys/fs/cgroup
$b mount -t devtmpfs dev dev
$b mkdir -p dev/pts dev/shm
$b mount -t devpts devpts dev/pts
for folder in dev/shm run tmp var/tmp; do
    $b mount -t tmpfs tmpfs $folder
    $b chmod 1777 $folder
done
for link in "/proc/self/fd dev/fd" "fd/0 dev/stdin" "fd/1 dev/stdout" "fd/2 dev/stderr"; do
    $b ln -s $link
done
$b mkdir -p run/guest
$b cp /begin.sh run/guest/
# As they are there, for what lies below /tmp, and so that what is written stays.
while IFS=' ' read -r from to; do
    $b mkdir -p "/root$to"
    $b mount --bind "/host$from" "/root$to" || fail "$from cannot be had"
done </folders
exec $b switch_root /root /bin/sh /run/guest/begin.sh
