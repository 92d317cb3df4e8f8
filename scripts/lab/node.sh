# shellcheck shell=bash
# Sourced after progress.sh: the packages that package-lock.json names, and the Node.js among them.

# install_packages ROOT: `npm ci`, where packages are missing or older than the lockfile.
install_packages() {
  local present=$1/node_modules/.package-lock.json found
  if [[ -e $present && ! $1/package-lock.json -nt $present ]]; then return; fi
  if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    refuse "npm is missing" "Install Node.js 20 or newer with npm, then run this again."
  fi
  found=$(node --version)
  found=${found#v}
  if ((${found%%.*} < 20)); then
    refuse "Node.js here is $found; 20 or newer is needed to install the packages" "Update it, then run this again."
  fi
  stage "packages: installed from package-lock.json" npm ci --prefix "$1"
}

# use_node ROOT: from here on `node` is the one among the packages, whatever the machine has. It runs TypeScript as it is.
use_node() {
  PATH=$1/node_modules/.bin:$PATH
  hash -r
  node -e 'process.exit(process.features.typescript ? 0 : 1)' 2>/dev/null ||
    refuse "the Node.js among the packages does not run here" "Use Node.js 24 or newer, then run this again."
}

# build_program ROOT: dist/, if anything that it is made from is newer.
build_program() {
  local program=$1/dist/bin.cjs
  if [[ -e $program && -z $(find "$1/src" "$1/package.json" "$1"/tsconfig*.json "$1/scripts/bundle.ts" -newer "$program" -print -quit) ]]; then
    return
  fi
  stage "safe-update: built" npm run --silent --prefix "$1" build
}
