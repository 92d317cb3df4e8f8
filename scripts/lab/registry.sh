#!/usr/bin/env bash
# A container registry on 127.0.0.1, which every engine trusts without TLS: pushes, pulls, moved tags and a registry that
# goes away are then real.
#
#   registry.sh start|stop|status [PORT]      the lab's own is on port 5000
#
# `start` does nothing where a registry already answers. `stop` ends only what `start` started.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=progress.sh
. "$here/progress.sh"

usage() {
  say "usage: registry.sh start|stop|status [PORT]"
  exit 2
}

action=${1:-}
port=${2:-${lab_registry##*:}}
[[ $port =~ ^[0-9]+$ ]] || usage
folder=$SAFE_UPDATE_LAB/registry/$port
container=safe-update-lab-registry
if [[ $port != 5000 ]]; then container+=-$port; fi

command -v curl >/dev/null || refuse "curl is missing" "Install it, then run this script again."

answers() { curl -fsS -m 3 -o /dev/null "http://127.0.0.1:$port/v2/" 2>/dev/null; }

our_pid() {
  local pid
  pid=$(cat "$folder/pid" 2>/dev/null || true)
  # Its configuration file names the port: with that, a reused pid cannot be taken for ours.
  if alive "$pid" docker-registry && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF " $folder/config.yml "; then
    printf '%s' "$pid"
  fi
}

# await COMMAND...: until COMMAND succeeds, for 15 s at most.
await() {
  local tries=0
  until "$@"; do
    sleep 0.1
    tries=$((tries + 1))
    if ((tries > 150)); then return 1; fi
  done
}

# Only for a child of this shell, which reaps it.
answers_or_ended() { answers || { [[ -e $folder/pid ]] && ! kill -0 "$(cat "$folder/pid")" 2>/dev/null; }; }

start_program() {
  mkdir -p "$folder/data"
  cat >"$folder/config.yml" <<-CONFIG
	version: 0.1
	log:
	  level: warn
	storage:
	  filesystem:
	    rootdirectory: $folder/data
	  delete:
	    enabled: true
	http:
	  addr: 127.0.0.1:$port
	CONFIG
  # setsid: it outlives the caller's terminal and job. 9: the lock of setup.
  setsid docker-registry serve "$folder/config.yml" </dev/null >>"$folder/log" 2>&1 9>&- &
  printf '%s\n' "$!" >"$folder/pid"
}

start_container() {
  rm -f "$folder/pid"
  docker rm -f "$container" >/dev/null 2>&1 || true
  docker run -d --name "$container" -p "127.0.0.1:$port:5000" -v "$container:/var/lib/registry" \
    -e REGISTRY_STORAGE_DELETE_ENABLED=true registry:2
}

start() {
  if command -v docker-registry >/dev/null; then
    start_program
  elif docker image inspect registry:2 >/dev/null 2>&1 || within 60 docker pull -q registry:2; then
    start_container
  elif [[ -e /etc/debian_version && $(id -u) == 0 ]]; then
    # The package would start one of its own on the same port, where there is systemd.
    apt-get update
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends docker-registry
    if [[ -d /run/systemd/system ]]; then systemctl disable --now docker-registry; fi
    start_program
  else
    echo "this engine cannot pull registry:2, and there is no docker-registry program"
    return 1
  fi
  await answers_or_ended || true
  answers || {
    tail -n 15 "$folder/log" 2>/dev/null || docker logs --tail 15 "$container"
    echo "nothing answers on 127.0.0.1:$port"
    return 1
  }
}

stopped() { ! alive "$1" docker-registry; }

case $action in
  start)
    if answers; then exit 0; fi
    stage "registry: started on 127.0.0.1:$port" start
    ;;
  stop)
    pid=$(our_pid)
    if [[ -n $pid ]]; then
      kill "$pid"
      await stopped "$pid"
      rm -f "$folder/pid"
    elif docker container inspect "$container" >/dev/null 2>&1; then
      docker rm -f "$container" >/dev/null
    elif answers; then
      refuse "the registry on 127.0.0.1:$port was not started by this script" "It is left running."
    fi
    ;;
  status)
    if answers; then
      say "registry: answers on 127.0.0.1:$port"
    else
      say "registry: nothing on 127.0.0.1:$port"
      exit 1
    fi
    ;;
  *) usage ;;
esac
