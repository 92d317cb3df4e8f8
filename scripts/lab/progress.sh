# shellcheck shell=bash
# Sourced by every script of the lab: where its state lives, and how progress is told.

if [[ -z ${SAFE_UPDATE_LAB:-} ]]; then
  SAFE_UPDATE_LAB=/var/lib/safe-update-lab
  if [[ $(id -u) != 0 && ! -w $SAFE_UPDATE_LAB ]]; then
    SAFE_UPDATE_LAB=${XDG_STATE_HOME:-$HOME/.local/state}/safe-update-lab
  fi
fi
export SAFE_UPDATE_LAB
# Where the lab's own engine keeps its data, and the tests their folders, where that can be in memory; see engine.sh. Short: the
# path of a socket has 107 bytes. Not in /run, which no test-restore mounts anything of.
export lab_memory=/tmp/safe-update-lab
export lab_mongo=$SAFE_UPDATE_LAB/mongo
lab_log=$SAFE_UPDATE_LAB/log/setup.log
mkdir -p "$SAFE_UPDATE_LAB/log"

say() { printf '%s\n' "$*" >&2; }

# done_line STARTED TEXT: one finished stage, STARTED being the value of SECONDS when it began.
done_line() {
  if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi
  printf '%4d s  %s\n' "$((SECONDS - $1))" "$2" >&2
}

# stage TEXT COMMAND...: runs COMMAND with its output in the log; one line when it is done. A failing COMMAND ends the
# script, with the end of the log and its name.
stage() {
  local text=$1 started=$SECONDS own status=0
  shift
  if [[ -t 2 ]]; then printf '     …  %s\r' "$text" >&2; fi
  # Others may be at work beside this one: what each printed is in one piece.
  own=$(mktemp "$SAFE_UPDATE_LAB/log/stage.XXXXXX")
  # A subshell with its own errexit: `cmd || status=$?` alone would switch errexit off inside a function.
  set +e
  (
    set -e
    "$@"
  ) >"$own" 2>&1 </dev/null
  status=$?
  set -e
  { printf '\n== %s\n' "$text" && cat "$own"; } >>"$lab_log"
  if ((status != 0)); then
    done_line "$started" "FAILED: $text"
    tail -n 20 "$own" | sed 's/^/          /' >&2
    say "        All of the output: $lab_log"
    rm -f "$own"
    exit 1
  fi
  rm -f "$own"
  done_line "$started" "$text"
}

# refuse WHAT NEXT...: says what is wrong and what to do about it, and ends the script.
refuse() {
  say "setup: $1"
  shift
  local line
  for line in "$@"; do say "       $line"; done
  exit 1
}

# within SECONDS COMMAND...: COMMAND with a time limit, where the machine has timeout(1).
within() {
  local limit=$1
  shift
  if command -v timeout >/dev/null; then timeout "$limit" "$@"; else "$@"; fi
}

# alive PID NAME: whether PID is a running process called NAME. After a reboot an old pid belongs to somebody else, and
# where nobody reaps them, killed daemons stay behind as zombies, which still have a pid and a name.
alive() {
  [[ -n $1 && $(cat "/proc/$1/comm" 2>/dev/null) == "$2" ]] && ! grep -q '^State:[[:space:]]Z' "/proc/$1/status"
}

# An engine of the lab has it as its mirror; see engine.sh.
export lab_registry=127.0.0.1:${SAFE_UPDATE_LAB_PORT:-5000}
