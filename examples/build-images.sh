#!/bin/bash
# Build the example images out of Debian packages: examples/build-images.sh OUT_DIR
#
#   OUT_DIR/hello.tar.gz      hello:latest                a greeting on port 8080
#   OUT_DIR/processor.tar.gz  pinterest/processor:v2.0    PNGs on port 8080, cached in Redis; curl, sh
#   OUT_DIR/redis.tar.gz      redis:6-alpine              a real redis-server (Debian's), sh
#
# Each is an OCI image layout that is at the same time what `docker save` writes, so Berth, docker,
# podman and skopeo load it. Needs gcc, libc6-dev and zlib1g-dev, which Berth's own build needs, too.
# Programs come from the packages installed here, else from packages fetched with apt-get download;
# nothing gets installed. The same package versions give the same bytes.
set -euo pipefail
export LC_ALL=C
umask 022

[ $# -eq 1 ] || { echo "usage: $0 OUT_DIR" >&2; exit 2; }
source_dir=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d "$out/.build-XXXXXX")
trap 'rm -rf "$work"' EXIT

epoch=${SOURCE_DATE_EPOCH:-1704067200}  # of every file; 2024-01-01
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
debian_arch=$(dpkg --print-architecture)
multiarch=$(gcc -print-multiarch)
case $debian_arch in
  armhf) arch=arm ;;
  i386) arch=386 ;;
  ppc64el) arch=ppc64le ;;
  *) arch=$debian_arch ;;
esac

die() {
  echo "$0: $*" >&2
  exit 1
}

# ---- files out of Debian packages

installed() {
  dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q ' installed$'
}

# Packages a program needs for its libraries, itself first: what it depends on, followed only
# through packages of libraries, as the others bring scripts and users but no files it loads.
closure() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances "$1" 2>/dev/null | awk -v first="$1" '
      /^[^ ]/ { package = $1 }
      /^ *(Pre)?Depends: (lib|zlib1g$)/ { needs[package] = needs[package] " " $NF }
      END {
        queue[count++] = first; seen[first] = 1
        for (at = 0; at < count; at++) {
          print queue[at]
          size = split(needs[queue[at]], names, " ")
          for (i = 1; i <= size; i++)
            if (!(names[i] in seen)) { seen[names[i]] = 1; queue[count++] = names[i] }
        }
      }'
}

# package_root PACKAGE: prints a directory with the files of a package and its libraries: / when it
# is installed, else one where it was unpacked.
package_root() {
  local package=$1 root=$work/packages/$1 deb
  if installed "$package"; then
    echo /
    return
  fi
  if [ ! -d "$root" ]; then
    mkdir -p "$root" "$work/debs/$package"
    echo "  fetching $package and its libraries" >&2
    (cd "$work/debs/$package" && closure "$package" | xargs apt-get download -qq 2>/dev/null) ||
      die "package $package is not installed and apt-get download does not get it: run apt-get update, or install it"
    for deb in "$work/debs/$package"/*.deb; do
      dpkg-deb -x "$deb" "$root"
    done
  fi
  echo "$root"
}

# find_library ROOT NAME: path of a shared library below a root.
find_library() {
  local dir
  for dir in "usr/lib/$multiarch" "lib/$multiarch" usr/lib lib lib64 usr/lib64; do
    if [ -e "$1/$dir/$2" ]; then
      echo "$1/$dir/$2"
      return
    fi
  done
  die "library $2 is missing below $1"
}

# add_program ROOT FILE TREE TARGET: copy a program and every library it needs into a tree.
add_program() {
  local root=$1 file=$2 tree=$3 target=$4 queue name library interpreter
  install -D -m 0755 "$file" "$tree/$target"
  interpreter=$(readelf -l "$file" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p')
  [ -n "$interpreter" ] || return 0
  install -D -m 0755 "$(find_library "$root" "$(basename "$interpreter")")" "$tree$interpreter"
  queue=("$file")
  while [ ${#queue[@]} -gt 0 ]; do
    file=${queue[0]}
    queue=("${queue[@]:1}")
    while read -r name; do
      if [ ! -e "$tree/usr/lib/$multiarch/$name" ] && [ "$name" != "$(basename "$interpreter")" ]; then
        library=$(find_library "$root" "$name")
        install -D -m 0644 "$library" "$tree/usr/lib/$multiarch/$name"
        queue+=("$library")
      fi
    done < <(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
  done
}

# compile NAME FLAGS...: a program of ours, static, so that its layer is one file.
compile() {
  local name=$1
  shift
  gcc -std=c17 -D_GNU_SOURCE -O2 -Wall -Wextra -static -s -o "$work/$name" \
    "$source_dir/$name/main.c" "$@" -pthread
}

# ---- images

digest_of() {
  sha256sum "$1" | cut -d' ' -f1
}

# make_layer NAME OWNED...: pack $work/NAME; directories given as PATH=UID:GID get that owner.
# Leaves the blob, and NAME.diff, NAME.blob and NAME.size beside it.
make_layer() {
  local name=$1 owned path tar=$work/$1.tar exclude=()
  shift
  for owned in "$@"; do
    exclude+=("--exclude=./${owned%%=*}")
  done
  local common=(--format=gnu --sort=name --mtime="@$epoch" --numeric-owner -C "$work/$name")
  tar -cf "$tar" "${common[@]}" --owner=0 --group=0 "${exclude[@]}" .
  for owned in "$@"; do
    path=${owned%%=*}
    owned=${owned#*=}
    tar -rf "$tar" "${common[@]}" --owner="${owned%:*}" --group="${owned#*:}" "./$path"
  done
  gzip -n -9 -c "$tar" >"$tar.gz"
  digest_of "$tar" >"$work/$name.diff"
  digest_of "$tar.gz" >"$work/$name.blob"
  stat -c %s "$tar.gz" >"$work/$name.size"
  mv "$tar.gz" "$work/blobs/$(cat "$work/$name.blob")"
  rm "$tar"
}

# join SEPARATOR WORDS...
join() {
  local separator=$1 first=$2
  shift 2
  printf %s "$first" "${@/#/$separator}"
}

# make_image FILE REPOSITORY:TAG CONFIG_JSON LAYERS...
make_image() {
  local file=$1 reference=$2 config=$3 layer diffs=() layers=() paths=() layout=$work/layout
  local index='application/vnd.oci.image'
  shift 3
  rm -rf "$layout"
  mkdir -p "$layout/blobs/sha256"
  for layer in "$@"; do
    local blob size
    blob=$(cat "$work/$layer.blob")
    size=$(cat "$work/$layer.size")
    diffs+=("\"sha256:$(cat "$work/$layer.diff")\"")
    layers+=("{\"mediaType\":\"$index.layer.v1.tar+gzip\",\"digest\":\"sha256:$blob\",\"size\":$size}")
    paths+=("\"blobs/sha256/$blob\"")
    ln "$work/blobs/$blob" "$layout/blobs/sha256/$blob"
  done
  printf '{"created":"%s","architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":[%s]}}' \
    "$created" "$arch" "$config" "$(join , "${diffs[@]}")" >"$layout/config"
  local config_digest config_size manifest_digest manifest_size
  config_digest=$(digest_of "$layout/config")
  config_size=$(stat -c %s "$layout/config")
  printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json","digest":"sha256:%s","size":%s},"layers":[%s]}' \
    "$index" "$index" "$config_digest" "$config_size" "$(join , "${layers[@]}")" >"$layout/manifest"
  manifest_digest=$(digest_of "$layout/manifest")
  manifest_size=$(stat -c %s "$layout/manifest")
  mv "$layout/config" "$layout/blobs/sha256/$config_digest"
  mv "$layout/manifest" "$layout/blobs/sha256/$manifest_digest"

  local full=docker.io/library/$reference
  case $reference in */*) full=docker.io/$reference ;; esac
  printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
  printf '{"schemaVersion":2,"mediaType":"%s.index.v1+json","manifests":[{"mediaType":"%s.manifest.v1+json","digest":"sha256:%s","size":%s,"platform":{"architecture":"%s","os":"linux"},"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}]}' \
    "$index" "$index" "$manifest_digest" "$manifest_size" "$arch" "$full" "${reference#*:}" >"$layout/index.json"
  printf '[{"Config":"blobs/sha256/%s","RepoTags":["%s"],"Layers":[%s]}]' \
    "$config_digest" "$reference" "$(join , "${paths[@]}")" >"$layout/manifest.json"

  # Layers are compressed already; this is for the archive's own padding and JSON.
  tar -cf - --format=gnu --sort=name --mtime="@$epoch" --numeric-owner --owner=0 --group=0 \
    --hard-dereference -C "$layout" blobs index.json manifest.json oci-layout | gzip -n -1 >"$work/image"
  mv "$work/image" "$out/$file"
  printf '  %-28s %5d KiB  %s\n' "$reference" "$(($(stat -c %s "$out/$file") / 1024))" "$out/$file"
}

mkdir -p "$work/blobs"
echo "building images for linux/$arch into $out"

# A shell and the usual tools, users, and a resolver's configuration: shared by all three.
base=$work/base
busybox=$(package_root busybox-static)/bin/busybox
mkdir -p "$base"/{bin,dev,etc,proc,root,run,sys,tmp,usr/bin,usr/local/bin,var/tmp}
chmod 1777 "$base/tmp" "$base/var/tmp"
chmod 0700 "$base/root"
install -m 0755 "$busybox" "$base/bin/busybox"
for applet in $("$busybox" --list); do
  [ "$applet" = busybox ] || ln -s busybox "$base/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nredis:x:999:1000:redis:/data:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$base/etc/passwd"
printf 'root:x:0:\nredis:x:1000:\nnogroup:x:65534:\n' >"$base/etc/group"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$base/etc/hosts"
printf 'hosts: files dns\n' >"$base/etc/nsswitch.conf"
make_layer base

path='"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'

compile hello
install -D -m 0755 "$work/hello" "$work/hello-files/usr/local/bin/hello"
make_layer hello-files
make_image hello.tar.gz hello:latest \
  "{\"Env\":[$path],\"Entrypoint\":[\"/usr/local/bin/hello\"],\"ExposedPorts\":{\"8080/tcp\":{}},\"User\":\"65534:65534\",\"WorkingDir\":\"/\"}" \
  base hello-files

root=$(package_root curl)
add_program "$root" "$root/usr/bin/curl" "$work/curl-files" usr/bin/curl
make_layer curl-files
compile image-processor -lz
install -D -m 0755 "$work/image-processor" "$work/processor-files/usr/local/bin/image-processor"
make_layer processor-files
make_image processor.tar.gz pinterest/processor:v2.0 \
  "{\"Env\":[$path],\"Cmd\":[\"/usr/local/bin/image-processor\"],\"ExposedPorts\":{\"8080/tcp\":{}},\"User\":\"65534:65534\",\"WorkingDir\":\"/\"}" \
  base curl-files processor-files

# Debian's server is a second name of the checker's program. Its data belongs to the user redis.
root=$(package_root redis-tools)
add_program "$root" "$root/usr/bin/redis-check-rdb" "$work/redis-files" usr/local/bin/redis-server
add_program "$root" "$root/usr/bin/redis-cli" "$work/redis-files" usr/local/bin/redis-cli
mkdir -p "$work/redis-files/data"
make_layer redis-files data=999:1000
make_image redis.tar.gz redis:6-alpine \
  "{\"Env\":[$path],\"Cmd\":[\"redis-server\"],\"ExposedPorts\":{\"6379/tcp\":{}},\"User\":\"redis\",\"Volumes\":{\"/data\":{}},\"WorkingDir\":\"/data\",\"StopSignal\":\"SIGTERM\"}" \
  base redis-files
