#!/bin/sh
# Usage: fetch-tools.sh DIRECTORY PROGRAM=PACKAGE…   Leaves the programs in DIRECTORY/bin, out of Debian's packages.
# They are unpacked, not installed: installing promtool's package would start a server on port 9090, and what is only
# unpacked can be given up at any moment. As any user; the machine's package lists are used, or where they are empty, own ones.
set -eu
mkdir -p "$1/archives/partial" "$1/lists/partial" "$1/unpacked" "$1/bin"
cd "$1"
shift

trap 'kill $!; exit 1' INT TERM
apt() {
  apt-get -q -o Debug::NoLocking=1 -o Dir::Cache::archives="$PWD/archives" -o Dir::Cache::pkgcache= \
    -o Dir::Cache::srcpkgcache= -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@" &
  wait $! # in the background, so that the trap does not wait for it
}
download() { apt "$@" install --yes --download-only --no-install-recommends $packages; }

packages=
for pair in "$@"; do packages="$packages ${pair#*=}"; done
own="-oDir::State::lists=$PWD/lists"
if ! download; then
  apt "$own" update
  download "$own"
fi

for package in archives/*.deb; do dpkg-deb -x "$package" unpacked; done
for pair in "$@"; do
  cat >"bin/${pair%=*}" <<'RUN'
#!/bin/sh
unpacked=$(dirname "$0")/../unpacked
LD_LIBRARY_PATH=$(echo "$unpacked"/usr/lib/*-linux-*) exec "$unpacked/usr/bin/$(basename "$0")" "$@"
RUN
  chmod +x "bin/${pair%=*}"
done
rm -r archives lists
