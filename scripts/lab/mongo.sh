#!/usr/bin/env bash
# The programs of the MongoDB image, which no suite of Debian has: mongodump, mongorestore and a server from Go's module
# proxy, mongosh from npm. They lie in $SAFE_UPDATE_LAB/mongo; whoever comes second waits for the first.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=progress.sh
. "$here/progress.sh"

source=$(cd "$here/../../fixtures/images/mongo" && pwd)
key=$(cat "$source/build" "$source/go.mod" "$source/go.sum" | cksum)
made() { [[ $(cat "$lab_mongo/made-from" 2>/dev/null) == "$key" ]]; }

if made; then exit 0; fi
if command -v flock >/dev/null; then
  exec 8>"$SAFE_UPDATE_LAB/mongo.lock"
  flock 8
  if made; then exit 0; fi
fi

build() {
  rm -rf "$lab_mongo" "$lab_mongo.partial"
  mkdir -p "$lab_mongo.partial"
  "$source/build" "$lab_mongo.partial" 8>&-
  printf '%s\n' "$key" >"$lab_mongo.partial/made-from"
  mv "$lab_mongo.partial" "$lab_mongo"
}
stage "programs of MongoDB: built" build
