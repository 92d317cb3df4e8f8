#!/usr/bin/env bash
# Makes sure that a Docker engine and Compose v2 answer. A machine that has them is left as it is; a bare Debian machine gets
# them from Debian's own packages, and age with them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=progress.sh
. "$here/progress.sh"
# shellcheck source-path=SCRIPTDIR source=debian.sh
. "$here/debian.sh"

compose_wanted=2.20
server_wanted=20.10
# Each brings the tini it wants.
engine_packages=(docker.io docker-cli docker-compose docker-buildx docker-registry containerd runc iptables
  ca-certificates curl mmdebstrap strace age)
# Two programs of systemd are enough for them; systemd itself need not come.
if ! command -v systemctl >/dev/null; then engine_packages+=(systemd-standalone-sysusers systemd-standalone-tmpfiles); fi
started=$SECONDS

server_version() { within 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }
compose_version() { within 10 docker compose version --short 2>/dev/null; }

# at_least WANTED VERSION: whether VERSION (v2.40.3, 28.5.2+dfsg4) is WANTED (major.minor) or newer.
at_least() {
  local major minor
  [[ $2 =~ ^v?([0-9]+)\.([0-9]+) ]] || return 1
  major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
  ((major > ${1%.*} || (major == ${1%.*} && minor >= ${1#*.})))
}

# prefer CODENAME SUITE: engine and Compose from SUITE, everything they depend on from the machine's own release.
# containerd comes from trixie: its 1.7 goes with the runc of every release, 2.x does not.
prefer() {
  cat >"$apt_dir/preferences" <<-PREFERENCES
	Package: *
	Pin: release n=$1
	Pin-Priority: 990

	Package: *
	Pin: release n=*
	Pin-Priority: -1

	Package: docker.io docker-cli docker-compose docker-buildx docker-registry tini-static
	Pin: release n=$2
	Pin-Priority: 995

	Package: containerd
	Pin: release n=trixie
	Pin-Priority: 995
	PREFERENCES
}

# install_packages PACKAGE...
install_packages() {
  local codename suite
  codename=$(read_archive) || {
    echo "apt has no Debian archive for this release among its sources."
    echo "Install Docker Engine with the Compose plugin as your distribution describes it, then run this script again."
    return 1
  }

  export DEBIAN_FRONTEND=noninteractive
  # Without systemd the package would start an engine of its own, without our mirror.
  if [[ ! -d /run/systemd/system && ! -e /usr/sbin/policy-rc.d ]]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
  fi
  # SAFE_UPDATE_LAB_SUITES: to try the tests with an older engine and Compose.
  for suite in ${SAFE_UPDATE_LAB_SUITES:-sid trixie}; do
    prefer "$codename" "$suite"
    if ! private_apt apt-get -s install -y --no-install-recommends "$@" >"$apt_dir/simulation"; then
      echo "$suite: cannot be installed here"
      continue
    fi
    # tini gives way to tini-static; nothing else may go, and the system itself stays what it is.
    if grep -E '^Remv ' "$apt_dir/simulation" | grep -v '^Remv tini ' ||
      grep -E '^Inst (libc6|systemd|apt|dpkg) \[' "$apt_dir/simulation"; then
      echo "$suite: would change more than an engine"
      continue
    fi
    if private_apt apt-get install -y --no-install-recommends "$@"; then
      rm -rf "$apt_dir/cache"
      return 0
    fi
  done
  echo "no suite of the archive has packages that can be installed here"
  return 1
}

# memory_for FOLDER: a file system in memory, for an engine that only tests use: its data need not outlive the machine. Not
# where there is little memory, nor where the kernel (before 6.6) keeps no extended attributes of users there.
memory_for() {
  local available
  if mountpoint -q "$1"; then return; fi
  available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
  [[ -z ${SAFE_UPDATE_LAB_DISK:-} ]] && ((available > 12 * 1024 * 1024)) && at_least 6.6 "$(uname -r)" || return 1
  # An engine that has containers on the disk goes on with them.
  [[ -z $(ls -A /var/lib/docker/containers 2>/dev/null) ]] || return 1
  mkdir -p "$1" && mount -t tmpfs -o size=60%,mode=0711 safe-update-lab "$1"
}

# A killed engine leaves files behind that name processes and sockets that are gone. After a reboot their pids may belong
# to other programs, and dockerd would take those for itself or for its containerd.
clear_stale() {
  local pid
  pid=$(cat /var/run/docker.pid 2>/dev/null || true)
  if ! alive "$pid" dockerd; then rm -f /var/run/docker.pid /var/run/docker.sock; fi
  pid=$(cat /var/run/docker/containerd/containerd.pid 2>/dev/null || true)
  if ! alive "$pid" containerd; then rm -f /var/run/docker/containerd/containerd.pid /var/run/docker/containerd/*.sock*; fi
  # dockerd uses a containerd of the system as soon as this socket exists, answering or not.
  if [[ -S /run/containerd/containerd.sock ]] &&
    ! within 3 ctr --address /run/containerd/containerd.sock version >/dev/null 2>&1; then
    rm -f /run/containerd/containerd.sock
  fi
}

# await_engine [PID]: until the engine answers. Gives up after a minute, or when dockerd PID is gone.
await_engine() {
  local tries=0
  until server_version >/dev/null; do
    sleep 0.3
    tries=$((tries + 1))
    if ((tries > 200)); then return 1; fi
    # Not at once: a fresh process bears the name of the shell for a moment.
    if ((tries > 5)) && [[ -n ${1:-} ]] && ! alive "$1" dockerd; then return 1; fi
  done
}

start_engine() {
  local pid mirror place=()
  if [[ -d /run/systemd/system ]]; then
    systemctl start docker
    await_engine
    return
  fi
  pid=$(cat /var/run/docker.pid 2>/dev/null || true)
  if alive "$pid" dockerd; then
    # It may be starting, or on its way out.
    if await_engine "$pid"; then return; fi
    if alive "$pid" dockerd; then
      echo "dockerd is running (pid $pid), but does not answer"
      return 1
    fi
  fi
  clear_stale
  # A mirror stands for Docker Hub, so plain names like postgres:15 can be pulled from the lab's registry. Given both here
  # and in its own configuration, dockerd would refuse to start.
  mirror=(--registry-mirror "http://$lab_registry")
  if grep -qs registry-mirrors /etc/docker/daemon.json; then mirror=(); fi
  if memory_for "$lab_memory"; then
    mkdir -p -m 1777 "$lab_memory/tmp"
    place=(--data-root "$lab_memory/engine")
  fi
  # Filters of system calls take a third of what starting a program in a container takes, and say nothing about us; the engines
  # that tests start for themselves have them.
  place+=(--seccomp-profile unconfined)
  # setsid: it outlives the caller's terminal and job. 9: the lock of setup.
  setsid dockerd ${mirror[@]+"${mirror[@]}"} ${place[@]+"${place[@]}"} </dev/null >>"$SAFE_UPDATE_LAB/log/dockerd.log" 2>&1 9>&- &
  await_engine "$!" || {
    tail -n 15 "$SAFE_UPDATE_LAB/log/dockerd.log"
    echo "the engine did not come up"
    return 1
  }
}

packaged_by_debian() { dpkg-query -W -f '${Status}' docker.io 2>/dev/null | grep -q ' installed$'; }

root_on_debian() { [[ -e /etc/debian_version && $(id -u) == 0 ]]; }

server=$(server_version || true)
compose=$(compose_version || true)
compose_missing="Docker Compose is ${compose:-missing}; $compose_wanted or newer is needed"

if [[ -n $server ]]; then
  at_least "$server_wanted" "$server" ||
    refuse "the engine here is $server; $server_wanted or newer is needed" "Update Docker, then run this script again."
elif [[ -n ${DOCKER_HOST:-} ]]; then
  refuse "no engine answers at DOCKER_HOST=$DOCKER_HOST" "Start it, or unset DOCKER_HOST."
fi

if [[ -z $server ]] && ! command -v dockerd >/dev/null; then
  root_on_debian || refuse "there is no Docker engine here" \
    "On Debian, run this script as root and it installs one." \
    "Elsewhere install Docker Engine or Docker Desktop (Compose v2 $compose_wanted or newer), then run it again."
  stage "engine: packages installed" install_packages "${engine_packages[@]}"
  hash -r
elif ! at_least "$compose_wanted" "$compose"; then
  # Next to an engine from elsewhere its own Compose belongs, not Debian's.
  if ! root_on_debian || ! packaged_by_debian; then
    refuse "$compose_missing" "Install the Compose plugin that belongs to your Docker (often called docker-compose-plugin)," \
      "then run this script again."
  fi
  stage "engine: Compose installed" install_packages docker-compose
fi

if [[ -z $server ]]; then
  [[ $(id -u) == 0 ]] || refuse "Docker is installed, but no engine answers" \
    "Start it, or, if it runs, let $(id -un) use it (group docker)."
  stage "engine: started" start_engine
fi

# For backups that are decrypted by hand. An engine from before may have come without it.
if ! command -v age >/dev/null && root_on_debian && packaged_by_debian; then
  stage "engine: age installed" install_packages age
fi

server=$(server_version)
compose=$(compose_version || true)
at_least "$compose_wanted" "$compose" || refuse "$compose_missing" "See $lab_log."
done_line "$started" "engine: Docker $server, Compose ${compose#v}"
