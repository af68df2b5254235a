#!/bin/sh
# Give a guest this machine's files to read, and of those it may write some folders alone.
#
#   share.sh VIRTIOFSD SOCKET FOLDER [WRITABLE...]    in a mount namespace of its own
#
# FOLDER is where the tree is put together; what is mounted below / comes along, but for what a
# kernel makes up, which the guest has its own of.
set -eu
program=$1 socket=$2 tree=$3
shift 3
mount --rbind / "$tree"
for made_up in proc sys dev; do umount -R -l "$tree/$made_up" 2>/dev/null || true; done
findmnt -R -l -n -o TARGET "$tree" | while IFS= read -r mounted; do
    mount -o remount,bind,ro "$mounted" 2>/dev/null || umount -l "$mounted"
done
for folder in "$@"; do mount --bind "$folder" "$tree$folder"; done
exec setpriv --pdeathsig KILL "$program" -f --socket-path="$socket" -o source="$tree" \
    -o sandbox=chroot -o cache=always -o log_level=err --rlimit-nofile=0 --thread-pool-size=0
