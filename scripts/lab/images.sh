#!/usr/bin/env bash
# The images that tests and the demonstration run on: Debian, PostgreSQL, MariaDB, MySQL, Redis, Valkey and MongoDB (the
# official ones where Docker Hub can be reached, otherwise built from fixtures/images), and the fixture application in all
# its behaviours.
#
#   images.sh [NAME ...]     only these, of: postgres redis mariadb mysql valkey mongo app helper
#
# Every image we build carries a key of what it was made from, as a label. Same key: nothing to do. An image without that
# label is somebody else's, and is used as it is. Once there is a Debian, the others are made beside each other.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=progress.sh
. "$here/progress.sh"

# Where the engine is, what is made for it is made in memory too.
if [[ -d $lab_memory/tmp ]]; then export TMPDIR=$lab_memory/tmp; fi

folders=$(cd "$here/../../fixtures/images" && pwd)
label=safe-update.lab
export DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1 BUILDKIT_PROGRESS=plain

sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-16; }

# key PATH PARENT_KEY: what an image is made from: a file or folder of ours, and its base.
key() {
  {
    printf '%s\n' "$2"
    (cd "$folders" && find "$1" -type f -print | LC_ALL=C sort | while IFS= read -r file; do
      printf '%s\n' "$file"
      cat "$file"
    done)
  } | sha256
}

# key_of IMAGE: the key it carries; "theirs" for an image without one, nothing where there is no such image.
key_of() {
  docker image inspect --format "{{with .Config.Labels}}{{or (index . \"$label\") \"theirs\"}}{{else}}theirs{{end}}" \
    "$1" 2>/dev/null || true
}

import_base() {
  "$folders/debian/build" | docker import --change "LABEL $label=$2" --change 'CMD ["bash"]' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$1"
}

# build IMAGE KEY FOLDER [DOCKER BUILD OPTION...]
build() {
  local image=$1 key=$2 folder=$3
  shift 3
  docker build --label "$label=$key" --tag "$image" "$@" "$folders/$folder"
}

id_of() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true; }

# replacing IMAGE COMMAND...: COMMAND makes IMAGE; the one it takes the name from goes, unless something still needs it.
replacing() {
  local image=$1 former
  former=$(id_of "$image")
  shift
  "$@"
  if [[ -n $former && $former != "$(id_of "$image")" ]]; then docker image rm "$former" || true; fi
}

# What Docker Hub, and a mirror of it, calls an image: library/redis:7, valkey/valkey:8.
on_hub() { case $1 in */*) printf '%s' "$1" ;; *) printf 'library/%s' "$1" ;; esac }

# Under its plain name the engine's mirror serves it, so only that name stays here.
push() {
  local copy
  copy=$lab_registry/$(on_hub "$1")
  docker tag "$1" "$copy"
  docker push "$copy"
  docker image rm "$copy"
}

in_registry() {
  local name
  name=$(on_hub "$1")
  curl -fsS -m 5 -o /dev/null --head "http://$lab_registry/v2/${name%:*}/manifests/${name#*:}" \
    -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' \
    -H 'Accept: application/vnd.docker.distribution.manifest.list.v2+json' \
    -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
    -H 'Accept: application/vnd.oci.image.index.v1+json' 2>/dev/null
}

pull_limit=120

# obtain IMAGE: whether it is here, or can be pulled.
obtain() { [[ -n $(key_of "$1") ]] || within "$pull_limit" docker pull -q "$1" >>"$lab_log" 2>&1; }

# library IMAGE KEY COMMAND...: an image that users know from Docker Hub; COMMAND makes our own.
library() {
  local image=$1 key=$2 present=
  shift 2
  # Through the mirror what is pulled may well be one that we pushed ourselves.
  if obtain "$image"; then present=$(key_of "$image"); fi
  case $present in
    theirs | "$key") in_registry "$image" || stage "image: $image pushed to the registry" push "$image" ;;
    *)
      stage "image: $image built" replacing "$image" "$@"
      stage "image: $image pushed to the registry" push "$image"
      ;;
  esac
}

key=$(key debian none)
library debian:bookworm-slim "$key" import_base debian:bookworm-slim "$key"
# What is built on another base has to be built again.
base=$(key_of debian:bookworm-slim)
# No Docker Hub for the base, none for the rest: only our own registry may still have it.
if [[ $base != theirs ]]; then pull_limit=20; else pull_limit=600; fi

# image_NAME: one each, of those that can be asked for.

image_postgres() {
  local key
  key=$(key postgres "$base")
  library postgres:15 "$key" build postgres:15 "$key" postgres
}

image_redis() {
  local key
  key=$(key redis "$base")
  library redis:7 "$key" build redis:7 "$key" redis
}

image_mariadb() {
  local key
  key=$(key mysql "$base")
  library mariadb:10.11 "$key" build mariadb:10.11 "$key" mysql --file "$folders/mysql/mariadb.Dockerfile"
}

image_mysql() {
  local key
  key=$(key mysql "$base")
  library mysql:9 "$key" build mysql:9 "$key" mysql --file "$folders/mysql/mysql.Dockerfile"
}

image_valkey() {
  local key
  key=$(key valkey "$base")
  library valkey/valkey:8 "$key" build valkey/valkey:8 "$key" valkey
}

# build_mongo IMAGE KEY: no suite of Debian has it, so its programs are made first (mongo.sh, which may have been started
# before there was an engine).
build_mongo() {
  local context status=0
  context=$(mktemp -d)
  {
    "$here/mongo.sh" &&
      cp -r "$lab_mongo"/{bin,mongosh} "$folders"/mongo/{Dockerfile,docker-entrypoint.sh} "$context" &&
      docker build --label "$label=$2" --tag "$1" "$context"
  } || status=$?
  rm -rf "$context"
  return "$status"
}

# Without it everything but the tests of MongoDB can still run.
image_mongo() {
  local key built
  key=$(key mongo "$base")
  if ! command -v go >/dev/null || ! command -v npm >/dev/null; then
    obtain mongo:7 || {
      say "        NOT BUILT: mongo:7 cannot be pulled, and there is no Go toolchain and npm to build one with."
      say "        The tests of MongoDB are skipped. Install Go 1.24 or newer, then run this script again."
    }
    return
  fi
  # Not as the condition of an if, which would switch errexit off inside.
  set +e
  (
    set -e
    library mongo:7 "$key" build_mongo mongo:7 "$key"
  )
  built=$?
  set -e
  if ((built != 0)); then
    say "        NOT BUILT: mongo:7, for the reason above. The tests of MongoDB are skipped."
  fi
}

# stale KEY IMAGE...: whether any of these images of our own is missing, or made from something else.
stale() {
  local wanted=$1 image
  shift
  for image; do
    if [[ $(key_of "$image") != "$wanted" ]]; then return 0; fi
  done
  return 1
}

fixtures=safe-update-fixtures

# build_apps KEY: one image for each line of app/releases.
build_apps() {
  local image tag release behaviour
  while read -r tag release behaviour; do
    image=$fixtures/app:$tag
    replacing "$image" build "$image" "$1" app --build-arg "RELEASE=$release" --build-arg "BEHAVIOUR=$behaviour"
  done <"$folders/app/releases"
}

image_app() {
  local key apps=() tag
  key=$(key app/base.Dockerfile "$base")
  if stale "$key" "$fixtures/app-base"; then
    stage "image: $fixtures/app-base built" replacing "$fixtures/app-base" build "$fixtures/app-base" "$key" app \
      --file "$folders/app/base.Dockerfile"
  fi
  key=$(key app "$base")
  while read -r tag _; do apps+=("$fixtures/app:$tag"); done <"$folders/app/releases"
  if stale "$key" "${apps[@]}"; then
    stage "image: $fixtures/app built in ${#apps[@]} behaviours" build_apps "$key"
  fi
}

# What safe-update would build when it first needs it: here once, not by each of the tests that begin first.
image_helper() {
  local folder=$here/../../helper image
  image=safe-update/helper:$(if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi <"$folder/Dockerfile" | cut -c1-12)
  if [[ -z $(id_of "$image") ]]; then
    stage "image: ${image%:*} built" docker build --label "$label=$base" --tag "$image" "$folder"
  fi
}

if (($# == 0)); then set -- mongo postgres app helper mariadb mysql valkey redis; fi
beside=()
for name; do
  "image_$name" &
  beside+=("$!")
done
status=0
for pid in "${beside[@]}"; do wait "$pid" || status=1; done
exit "$status"
