#!/usr/bin/env bash
# An older engine and Compose beside those of the machine, unpacked and not installed: Debian's trixie has Engine 26 and
# Compose 2.26. They lie in $SAFE_UPDATE_LAB/older; test/faults/versions.test.ts starts that dockerd on data of its own. Where
# they cannot be had, that test says so.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=progress.sh
. "$here/progress.sh"
# shellcheck source-path=SCRIPTDIR source=debian.sh
. "$here/debian.sh"

older=$SAFE_UPDATE_LAB/older
if [[ -e $older ]]; then exit 0; fi
if [[ ! -e /etc/debian_version || $(id -u) != 0 ]]; then
  say "older engine: only root on Debian can have one; its test is skipped"
  exit 0
fi

unpack() {
  local fresh=$older.partial package
  rm -rf "$fresh"
  mkdir -p "$fresh/packages"
  read_archive
  cd "$fresh/packages"
  private_apt apt-get download docker.io/trixie docker-cli/trixie docker-compose/trixie
  for package in *.deb; do dpkg-deb --extract "$package" "$fresh"; done
  # Where the older docker command looks for its plugins first.
  mkdir -p "$fresh/config/cli-plugins"
  ln -s ../../usr/libexec/docker/cli-plugins/docker-compose "$fresh/config/cli-plugins/docker-compose"
  "$fresh/usr/bin/docker" --version
  "$fresh/usr/bin/dockerd" --version
  rm -rf "$fresh/packages" "$fresh/usr/share"
  mv "$fresh" "$older"
}

# Not the end of everything where the archive cannot be reached.
(stage "older engine: unpacked" unpack) || say "        The test that needs it fails."
