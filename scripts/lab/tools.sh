#!/usr/bin/env bash
# Two programs that the fault campaign puts between safe-update and its machine: strace, which lets single system calls
# fail, and libfaketime, which gives a process a clock of its own. Where they cannot be had, the tests that need them say
# so, and fail or are skipped (test/tools.ts); nothing else needs them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=progress.sh
. "$here/progress.sh"

missing=()
for program in strace faketime; do
  if ! command -v "$program" >/dev/null; then missing+=("$program"); fi
done
if ((${#missing[@]} == 0)); then exit 0; fi

install() {
  # A third party's source that fails is not our concern.
  apt-get update || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

if [[ -e /etc/debian_version && $(id -u) == 0 ]]; then
  # Not the end of everything where the archive cannot be reached.
  (stage "tools: ${missing[*]} installed" install) || say "        The tests that need ${missing[*]} fail."
else
  say "tools: ${missing[*]} missing; the tests that need it are skipped. Install it with your package manager."
fi
