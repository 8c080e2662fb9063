#!/usr/bin/env bash
# Makes sure that the named tools are there, and installs what is missing:
#   scripts/provide.sh cargo cc rust-components cargo-deny postgres alertmanager aiosmtpd
#   scripts/provide.sh --path alertmanager     prints where it is
#   scripts/provide.sh --path aiosmtpd         prints a Python that has it
# A tool that is present costs nothing, so every make target may call this each time.
# Where something can be installed neither by cargo nor by apt, the message says what to do by hand.
set -euo pipefail

PATH="$PATH:$HOME/.cargo/bin"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

# Runs a command as root, by sudo when the user is somebody else. Without a terminal sudo may not
# ask for a password: it would hang where nobody can answer.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

can_apt() {
    command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }
}

# apt_install WHAT PACKAGE...: the index is refreshed only when the first try fails, as on a fresh
# container that has none.
apt_install() {
    local what=$1
    shift
    can_apt || die "$what is missing, and this user cannot run apt-get as root." \
        "Install it by hand (on Debian or Ubuntu the packages: $*), then run this again."
    say "installing $what ($*)"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null ||
        { as_root apt-get update -q </dev/null &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null; } ||
        die "apt-get could not install $what ($*)." "Install it by hand, then run this again."
}

# apt_extract BY_HAND PACKAGE...: takes packages apart into ./tree, and installs nothing.
apt_extract() {
    local by_hand=$1 package
    shift
    # The sandbox user cannot write into a private directory, and as root apt warns of it.
    local download=(apt-get -o APT::Sandbox::User="$(id -un)" download -q "$@")
    "${download[@]}" || { can_apt && as_root apt-get update -q </dev/null && "${download[@]}"; } ||
        die "apt-get could not download $*." "$by_hand"
    for package in ./*.deb; do
        dpkg-deb --extract "$package" tree
    done
}

provide_cargo() {
    command -v cargo >/dev/null || die "cargo is not installed." \
        "Install the Rust toolchain with rustup (https://rustup.rs), then run this again."
}

# The bundled SQLite and the TLS library contain C.
provide_cc() {
    command -v cc >/dev/null || apt_install "a C compiler" gcc libc6-dev
}

# rustup's minimal profile leaves these two out.
provide_rust_components() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    command -v rustup >/dev/null || die "rustfmt or clippy is missing, and rustup is not installed." \
        "Install both for your toolchain, then run this again."
    rustup component add rustfmt clippy
}

provide_cargo_deny() {
    command -v cargo-deny >/dev/null && return
    say "installing cargo-deny (once; this takes some minutes)"
    nice -n 10 cargo install --locked cargo-deny
}

# Debian's package would set up a server on the standard port and start it at every boot. The tests
# want the programs alone, so that is switched off while the package is installed.
provide_postgres() {
    postgres_bin >/dev/null && return
    local switch=/etc/postgresql-common/createcluster.d/core314-tests.conf
    if can_apt; then
        as_root mkdir -p "$(dirname "$switch")"
        echo "create_main_cluster = false" | as_root tee "$switch" >/dev/null
    fi
    # The sub-shell keeps the switch from outliving a failed installation.
    local status=0
    (apt_install "PostgreSQL $POSTGRES_OLDEST or newer" postgresql) || status=$?
    if can_apt; then
        as_root rm -f "$switch"
    fi
    [ "$status" -eq 0 ] || exit "$status"
    postgres_bin >/dev/null || die "no PostgreSQL $POSTGRES_OLDEST or newer was found after the installation." \
        "Install one (see https://www.postgresql.org/download/linux/) so that its initdb is in PATH."
}

ALERTMANAGER_TEMPLATES=/usr/share/prometheus/alertmanager/default.tmpl

# The binary and its templates are taken out of the package: installing it would start a service that nobody asked for.
provide_alertmanager() {
    alertmanager_bin >/dev/null && { [ -e "$ALERTMANAGER_TEMPLATES" ] || ! command -v apt-get >/dev/null; } && return
    command -v apt-get >/dev/null || die "Alertmanager is missing." \
        "Put Prometheus' alertmanager into PATH, then run this again."
    say "fetching prometheus-alertmanager"
    local scratch
    scratch=$(mktemp -d)
    (
        cd "$scratch"
        apt_extract "Put Prometheus' alertmanager into PATH, then run this again." prometheus-alertmanager
        mkdir -p "$TOOLS_DIR"
        install -m 755 tree/usr/bin/prometheus-alertmanager "$TOOLS_DIR/prometheus-alertmanager"
        # The path of its templates is compiled in.
        [ -e "$ALERTMANAGER_TEMPLATES" ] ||
            as_root install -D -m 644 -t "$(dirname "$ALERTMANAGER_TEMPLATES")" tree"$(dirname "$ALERTMANAGER_TEMPLATES")"/*.tmpl
    )
    rm -rf "$scratch"
}

# It is Python alone, so its packages need not be installed: they are taken apart, and found by a wrapper.
provide_aiosmtpd() {
    aiosmtpd_python >/dev/null && return
    local by_hand="Install it for python3 (pip install aiosmtpd), then run this again."
    command -v apt-get >/dev/null || die "aiosmtpd is missing." "$by_hand"
    command -v python3 >/dev/null || apt_install "Python" python3
    say "fetching python3-aiosmtpd"
    local scratch
    scratch=$(mktemp -d)
    (
        cd "$scratch"
        apt_extract "$by_hand" python3-aiosmtpd python3-attr python3-public
        rm -rf "$TOOLS_DIR/aiosmtpd"
        mkdir -p "$TOOLS_DIR"
        cp -R tree/usr/lib/python3/dist-packages "$TOOLS_DIR/aiosmtpd"
        printf '#!/bin/sh\nPYTHONPATH="%s" exec python3 "$@"\n' "$TOOLS_DIR/aiosmtpd" >"$TOOLS_DIR/python-aiosmtpd"
        chmod 755 "$TOOLS_DIR/python-aiosmtpd"
    )
    rm -rf "$scratch"
    aiosmtpd_python >/dev/null || die "the aiosmtpd of this system does not fit its python3." "$by_hand"
}

if [ "${1:-}" = --path ]; then
    case ${2:-} in
    alertmanager) alertmanager_bin || die "Alertmanager is missing." "Run scripts/provide.sh alertmanager first." ;;
    aiosmtpd) aiosmtpd_python || die "aiosmtpd is missing." "Run scripts/provide.sh aiosmtpd first." ;;
    *) die "no path is known for '${2:-}'." "Usage: scripts/provide.sh --path alertmanager|aiosmtpd" ;;
    esac
    exit
fi

for tool in "$@"; do
    case $tool in
    cargo) provide_cargo ;;
    cc) provide_cc ;;
    rust-components) provide_rust_components ;;
    cargo-deny) provide_cargo_deny ;;
    postgres) provide_postgres ;;
    alertmanager) provide_alertmanager ;;
    aiosmtpd) provide_aiosmtpd ;;
    *) die "unknown tool '$tool'." "Known: cargo cc rust-components cargo-deny postgres alertmanager aiosmtpd." ;;
    esac
done
