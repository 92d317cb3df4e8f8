# shellcheck shell=bash
# Sourced where packages come from Debian's archive: apt with sources and lists of its own, so that the machine's stay as
# they are.

apt_dir=$SAFE_UPDATE_LAB/apt

# debian_sources: "URI KEYRING" of the archive that this machine's own release comes from. Read from apt itself, so both
# formats of source file and every mirror work. Third-party archives name other origins.
debian_sources() {
  local codename sources uri keyring
  # shellcheck disable=SC1091
  codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  # shellcheck disable=SC2016 # apt's own variables
  sources=$(apt-get indextargets --format '$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)' \
    'Created-By: Packages' 2>/dev/null || true)
  uri=$(awk -F'|' -v c="$codename" '$1 == "Debian" && $2 == c && $3 == "main" { print $4; exit }' <<<"$sources")
  [[ -n $uri ]] || return 1
  # Newer suites are signed with newer keys than a source file of the old release may name.
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -e $keyring ]] || keyring=
  printf '%s %s %s\n' "$codename" "$uri" "$keyring"
}

private_apt() {
  local program=$1
  shift
  "$program" \
    -o Dir::Etc::SourceList="$apt_dir/debian.sources" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences="$apt_dir/preferences" -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State::Lists="$apt_dir/lists" -o Dir::Cache="$apt_dir/cache" \
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none \
    -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef "$@"
}

# read_archive: fetches the lists of this machine's release, trixie and sid; prints the release's codename. Nothing is
# preferred yet but the machine's own release. Fails where apt knows no Debian archive.
read_archive() {
  local found codename uri keyring
  # apt knows the origin of a source only once it has its lists. A third party's source that fails is not our concern.
  apt-get update >&2 || true
  found=$(debian_sources) || return 1
  read -r codename uri keyring <<<"$found"
  mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
  {
    printf 'Types: deb\nURIs: %s\nComponents: main\n' "$uri"
    printf 'Suites: %s\n' "$(printf '%s\n' "$codename" trixie sid | sort -u | tr '\n' ' ')"
    if [[ -n $keyring ]]; then printf 'Signed-By: %s\n' "$keyring"; fi
  } >"$apt_dir/debian.sources"
  printf 'Package: *\nPin: release n=%s\nPin-Priority: 990\n' "$codename" >"$apt_dir/preferences"
  # One suite that fails leaves the other.
  private_apt apt-get update >&2 || true
  printf '%s\n' "$codename"
}
