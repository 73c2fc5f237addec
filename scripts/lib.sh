# Shared by the scripts here; sourced by bash, never run.
# shellcheck shell=bash

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"

# A caller may come with no environment at all.
: "${PATH:=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
: "${HOME:=$(getent passwd "$EUID" | cut -d: -f6)}"
export PATH HOME="${HOME:-/nonexistent}"

# One place for results, whatever the caller's environment says. Read by cargo.
export CARGO_TARGET_DIR="$root/target"

readonly RUST_MINOR=95
readonly VENV="$root/target/venv"
# Read by the scripts that source this file.
# shellcheck disable=SC2034
readonly VENV_2="$root/target/venv-2" PYTHON="$VENV/bin/python"
readonly NODE_PACKAGES="$root/target/node"
readonly CONFORMANCE="$root/target/conformance"
readonly REGISTRIES="$root/target/registries"
readonly CLIENTS="$root/target/clients"
# Read by the scripts that source this file.
# shellcheck disable=SC2034
readonly TARGET=x86_64-unknown-linux-gnu BINARY="$root/target/keepgate"

# --- what people see -----------------------------------------------------------------------------

if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
else
    bold='' dim='' red='' green='' yellow='' plain=''
fi

# say LINE...
say() { printf '%s\n' "$@"; }
step() { printf '%s==>%s %s\n' "$bold$green" "$plain" "$*"; }
note() { printf '    %s%s%s\n' "$dim" "$*" "$plain"; }
warn() { printf '%swarning:%s %s\n' "$yellow" "$plain" "$*" >&2; }

# fail WHAT [HINT...]: the way every error of these scripts looks.
fail() {
    printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
    shift
    if (($#)); then
        printf '\n' >&2
        printf 'hint: %s\n' "$@" >&2
    fi
    exit 1
}

# --- what is installed ---------------------------------------------------------------------------

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        fail "\`$*\` needs root, and there is no sudo" "run this script as root"
    fi
}

# sudo_owner: the uid of whoever called sudo, where this checkout is theirs.
sudo_owner() {
    local owner
    ((EUID == 0)) && [[ -n ${SUDO_UID:-} ]] || return 1
    owner=$(stat -c %u -- "$root")
    ((owner != 0)) && [[ $owner == "$SUDO_UID" ]] && echo "$owner"
}

# as_owner COMMAND...: what makes files in target/ or needs a Rust toolchain. Root would leave files
# there that the checkout's owner cannot replace, and sudo hides the toolchain in their home.
as_owner() {
    local owner
    if owner=$(sudo_owner); then
        sudo --user "#$owner" --set-home -- "$@"
    else
        "$@"
    fi
}

# as_caller SCRIPT ARGUMENTS...: goes on as the checkout's owner in a script that was called with
# sudo and asks for root itself where it needs it.
as_caller() {
    local owner
    owner=$(sudo_owner) || return 0
    exec sudo --user "#$owner" --set-home -- bash "scripts/$1" "${@:2}"
}

has_package() {
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# need_apt PACKAGE...: installs what is missing, and asks for no password where nothing is.
need_apt() {
    local package missing=()
    for package in "$@"; do
        has_package "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || fail "missing: ${missing[*]}" \
        "this is not Debian: install them the way your system does, or build on Debian 12 or 13"
    step "installing ${missing[*]}"
    # A fresh system knows no packages yet: the first try may fail, the second says why.
    apt_install "${missing[@]}" 2>/dev/null || {
        apt_update
        apt_install "${missing[@]}" || fail "apt could not install: ${missing[*]}" \
            "sudo apt-get update && sudo apt-get install ${missing[*]}"
    }
}

# What packages and lists of packages are made of is for everybody, whatever this shell's umask is.
apt_install() (
    umask 022
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends -y "$@" >/dev/null
)

apt_update() (
    umask 022
    as_root apt-get -qq update || warn "apt could not refresh its lists"
)

# new_enough COMMAND...: does this rustc, with a cargo beside it, suffice?
new_enough() {
    local version
    version=$("$@" --version 2>/dev/null) || return 1
    [[ $version =~ ^rustc\ 1\.([0-9]+)\. ]] && ((BASH_REMATCH[1] >= RUST_MINOR))
}

# need_rust: a rustc that is new enough, whatever its toolchain is called.
need_rust() {
    local wanted="1.$RUST_MINOR.0" command
    command="rustup toolchain install $wanted --profile minimal --component rustfmt,clippy"
    # A fresh rustup is not on this shell's PATH yet.
    PATH="$PATH:$(cargo_home)/bin"
    if new_enough rustc && cargo --version >/dev/null 2>&1; then
        return 0
    fi
    if ! command -v rustup >/dev/null; then
        rustup_from_apt || fail "Keepgate needs rustc 1.$RUST_MINOR or newer, and there is no rustup" \
            "install rustup as its project describes, then run: $command"
    fi
    local toolchain
    while read -r toolchain _; do
        if new_enough rustup run "$toolchain" rustc; then
            export RUSTUP_TOOLCHAIN="$toolchain"
            return 0
        fi
    done < <(rustup toolchain list 2>/dev/null)
    step "installing Rust $wanted"
    # shellcheck disable=SC2086 # the words of the command shown to people
    $command >/dev/null || fail "rustup could not install Rust $wanted" "run: $command"
    export RUSTUP_TOOLCHAIN="$wanted"
    new_enough rustc || fail "rustc is still older than 1.$RUST_MINOR" "run: $command"
}

# Debian 13 has rustup as a package, Debian 12 has not.
rustup_from_apt() {
    command -v apt-cache >/dev/null || return 1
    apt_offers rustup || apt_update
    apt_offers rustup && need_apt rustup
}

# apt_offers PACKAGE: of a name that others only mention, apt-cache shows nothing and still succeeds.
apt_offers() { [[ $(apt-cache show "$1" 2>/dev/null) == *$'\nVersion: '* ]]; }

# need_venv: the official MCP SDK for Python for sessions, at fixed versions, in target/venv.
need_venv() {
    make_venv "$VENV" scripts/demo/requirements.txt
}

# need_venv_2: the one for the stateless era, in target/venv-2; only tests need it.
need_venv_2() {
    make_venv "$VENV_2" tests/programs/mcp-2/requirements.txt
}

# make_venv DIRECTORY REQUIREMENTS: prefers the system's Python: other users can run it, one below
# somebody's home they cannot.
make_venv() {
    local venv=$1 wanted=$2 python
    if cmp -s "$wanted" "$venv/requirements.txt" && "$venv/bin/python" -c 'import mcp' 2>/dev/null; then
        return 0
    fi
    need_apt python3 python3-venv
    python=/usr/bin/python3
    [[ -x $python ]] || python=$(command -v python3)
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "the MCP SDK needs Python 3.10 or newer; \`$python\` is older"
    step "installing the MCP SDK for Python into ${venv#"$root/"}"
    rm -rf -- "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted" ||
        fail "pip could not install the MCP SDK" "see the messages above; then run this script again"
    # Other users run it in tests, whatever this shell's umask is.
    chmod -R go+rX -- "$venv"
    cp -- "$wanted" "$venv/requirements.txt"
}

# need_node: node, and the official MCP SDK for JavaScript at fixed versions in target/node.
need_node() {
    local wanted=tests/programs/node
    [[ -x /usr/bin/node ]] || need_apt nodejs
    if cmp -s "$wanted/package-lock.json" "$NODE_PACKAGES/package-lock.json" &&
        [[ -d $NODE_PACKAGES/node_modules/@modelcontextprotocol/sdk ]]; then
        return 0
    fi
    command -v npm >/dev/null || need_apt npm
    step "installing the MCP SDK for JavaScript into target/node"
    rm -rf -- "$NODE_PACKAGES"
    mkdir -p -- "$NODE_PACKAGES"
    cp -- "$wanted/package.json" "$NODE_PACKAGES/package.json"
    # The lock comes last, in its own place: only a whole set of packages has one.
    cp -- "$wanted/package-lock.json" "$NODE_PACKAGES/npm-shrinkwrap.json"
    (cd -- "$NODE_PACKAGES" && npm ci --ignore-scripts --no-audit --no-fund --silent) ||
        fail "npm could not install the MCP SDK" "see the messages above; then run this script again"
    chmod -R go+rX -- "$NODE_PACKAGES"
    cp -- "$wanted/package-lock.json" "$NODE_PACKAGES/package-lock.json"
}

# need_conformance: the official MCP conformance suite in target/conformance, with a Node of its own:
# it needs a newer one than Debian has. Both at fixed versions and with the digests they must have.
need_conformance() {
    local wanted=tests/programs/conformance file same=1
    for file in package-lock.json requirements.txt; do
        cmp -s "$wanted/$file" "$CONFORMANCE/$file" || same=0
    done
    ((same == 0)) || return 0
    command -v npm >/dev/null || need_apt npm
    step "installing the MCP conformance suite into target/conformance"
    rm -rf -- "$CONFORMANCE"
    mkdir -p -- "$CONFORMANCE"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --only-binary :all: --target "$CONFORMANCE/python" --requirement "$wanted/requirements.txt" ||
        fail "pip could not install Node" "see the messages above; then run this script again"
    cp -- "$wanted/package.json" "$CONFORMANCE/package.json"
    cp -- "$wanted/package-lock.json" "$CONFORMANCE/npm-shrinkwrap.json"
    # npm runs with the system's Node, which the suite does not want; nothing of it is run here.
    (cd -- "$CONFORMANCE" && npm ci --ignore-scripts --no-audit --no-fund --silent) ||
        fail "npm could not install the MCP conformance suite" \
            "see the messages above; then run this script again"
    chmod -R go+rX -- "$CONFORMANCE"
    # Last: only a whole installation has them.
    cp -- "$wanted/requirements.txt" "$wanted/package-lock.json" "$CONFORMANCE/"
}

# need_clients: MCP clients that people use, at fixed versions in target/clients. They run with the
# conformance suite's Node, and Claude Code is the program of its package: no script installs it.
need_clients() {
    local wanted=tests/programs/clients
    cmp -s "$wanted/package-lock.json" "$CLIENTS/package-lock.json" && return 0
    command -v npm >/dev/null || need_apt npm
    step "installing MCP clients into target/clients"
    rm -rf -- "$CLIENTS"
    mkdir -p -- "$CLIENTS"
    cp -- "$wanted/package.json" "$CLIENTS/package.json"
    cp -- "$wanted/package-lock.json" "$CLIENTS/npm-shrinkwrap.json"
    (cd -- "$CLIENTS" && npm ci --ignore-scripts --no-audit --no-fund --silent) ||
        fail "npm could not install the MCP clients" \
            "see the messages above; then run this script again"
    chmod -R go+rX -- "$CLIENTS"
    # Last: only a whole installation has it.
    cp -- "$wanted/package-lock.json" "$CLIENTS/package-lock.json"
}

# need_registries: what npm and pip need to install the packages in tests/programs/registries once
# more without a network, in target/registries. Only tests need it.
need_registries() {
    local wanted=tests/programs/registries fresh="$REGISTRIES.new" before package scratch
    local npm=(npm install --ignore-scripts --omit=dev --no-audit --no-fund --silent)
    [[ -x /usr/bin/npm || -x /usr/local/bin/npm ]] || need_apt npm
    /usr/bin/python3 -m pip --version >/dev/null 2>&1 || need_apt python3-pip
    # Which wheels fit depends on the system's Python.
    if diff -r "$wanted" "$REGISTRIES/wanted" >/dev/null 2>&1 &&
        [[ $(/usr/bin/python3 --version) == "$(<"$REGISTRIES/python")" ]]; then
        return 0
    fi
    step "fetching MCP servers from npm and PyPI into target/registries"
    rm -rf -- "$REGISTRIES" "$fresh"
    mkdir -p -- "$fresh/npm" "$fresh/pypi"
    before=$(<"$wanted/npm-before")
    while read -r package; do
        scratch=$(mktemp -d -p "$fresh")
        npm_config_before="$before" npm_config_cache="$fresh/npm" "${npm[@]}" --prefix "$scratch" -- "$package" ||
            fail "npm could not fetch $package" "see the messages above; then run this script again"
        rm -rf -- "$scratch"
    done <"$wanted/npm.txt"
    /usr/bin/python3 -m pip download --quiet --disable-pip-version-check --only-binary :all: \
        --dest "$fresh/pypi" --constraint "$wanted/constraints.txt" --requirement "$wanted/pypi.txt" ||
        fail "pip could not fetch the servers" "see the messages above; then run this script again"
    # A list of links with digests is what pip takes for an index.
    (cd -- "$fresh" && sha256sum -- pypi/*.whl) |
        sed -E 's|^([0-9a-f]{64})  (.*)$|<a href="\2#sha256=\1">\2</a><br>|' >"$fresh/index.html"
    /usr/bin/python3 --version >"$fresh/python"
    cp -R -- "$wanted" "$fresh/wanted"
    mv -- "$fresh" "$REGISTRIES"
}

# need_go: any compiler of Go, for a static program that tests run in a jail.
need_go() {
    command -v go >/dev/null || need_apt golang-go
}

# --- the host ------------------------------------------------------------------------------------

# landlock_abi: the kernel's version of the Landlock interface; 0 where there is none.
landlock_abi() {
    # landlock_create_ruleset(2) is 444; flag 1 asks for the version.
    python3 -c 'import ctypes; print(max(0, ctypes.CDLL(None).syscall(444, None, 0, 1)))' 2>/dev/null ||
        echo 0
}

# kernel_at_least MAJOR MINOR
kernel_at_least() {
    local major minor
    IFS=.- read -r major minor _ < <(uname -r)
    ((major > $1 || (major == $1 && minor >= $2)))
}

# as_uid UID COMMAND...: runs it as a user that need not exist, without any group or privilege.
as_uid() {
    local uid=$1
    shift
    setpriv --reuid "$uid" --regid "$uid" --clear-groups --no-new-privs -- "$@"
}

# free_uid FROM: the highest number from FROM downwards that no user has.
free_uid() {
    local uid=$1
    while getent passwd "$uid" >/dev/null; do uid=$((uid - 1)); done
    echo "$uid"
}

# --- the build -----------------------------------------------------------------------------------

cargo_home() { echo "${CARGO_HOME:-$HOME/.cargo}"; }

# release_environment: everything under which a release is the same bytes wherever it is built.
# Sets `release_flags` for cargo; they come on top of those in .cargo/config.toml, which variables
# for rustc's flags would replace.
release_environment() {
    local home sysroot pair remaps=() c=()
    home=$(cargo_home) sysroot=$(rustc --print sysroot)
    for pair in "$sysroot=/_/rust" "$home=/_/cargo" "$root=/_/keepgate"; do
        [[ $pair != *[\"\\]* ]] || fail "a path with quotes or backslashes cannot be built in: $pair"
        remaps+=("\"--remap-path-prefix=$pair\"")
        c+=("$(printf '%q' "-ffile-prefix-map=$pair")")
    done
    # shellcheck disable=SC2034 # read by the scripts that build
    release_flags=(--locked --target "$TARGET"
        --config "target.$TARGET.rustflags = [$(IFS=, && echo "${remaps[*]}")]")
    export CC_SHELL_ESCAPED_FLAGS=1 CFLAGS="${c[*]}"
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
}

# timed NAME COMMAND...: one step of a longer script, with its time; the first failure ends it.
# Never call it in a condition: bash would then ignore failures inside of the step.
timed() {
    local name=$1 from=$SECONDS failed
    shift
    step "$name"
    set +e
    (
        set -e
        "$@"
    )
    failed=$?
    set -e
    ((failed == 0)) || fail "step \`$name\` failed after $((SECONDS - from)) s (exit $failed)"
    note "$name: $((SECONDS - from)) s"
}
