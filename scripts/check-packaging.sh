#!/usr/bin/env bash
# Looks at what is in packaging/ with the tools that will read it, without a network, a cluster or a running systemd:
#   scripts/check-packaging.sh
# A tool that this machine lacks is named and left out; the test `packaging` of tests/architecture needs none of them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
cd "$here/.."

# A unit that is exposed more than this (0 to 10, as systemd counts) has lost a line.
MOST_EXPOSED=2.5

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if command -v systemd-analyze >/dev/null; then
    say "systemd unit"
    # The program need not be installed here.
    sed 's#^ExecStart=/usr/local/bin/core314 .*#ExecStart=/bin/true#' packaging/systemd/core314.service >"$scratch/core314.service"
    systemd-analyze verify --man=no "$scratch/core314.service"
    systemd-analyze security --offline=true --no-pager "$scratch/core314.service" >"$scratch/security"
    exposed=$(sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p' "$scratch/security")
    awk -v is="$exposed" -v most="$MOST_EXPOSED" 'BEGIN { exit !(is != "" && is <= most) }' || {
        cat "$scratch/security" >&2
        die "core314.service is exposed by ${exposed:-an unknown number}, $MOST_EXPOSED are allowed." "The list above says by what."
    }
else
    say "left out: systemd-analyze is not installed"
fi

if command -v kubectl >/dev/null; then
    for store in sqlite postgres; do
        say "manifests for $store"
        kubectl kustomize "packaging/kubernetes/$store" >"$scratch/$store.yaml"
        # What the generator and the transformer have put in place.
        grep -q 'name: core314-[a-z0-9]\{10\}$' "$scratch/$store.yaml" || die "$store does not use the generated ConfigMap."
        grep -q 'image: registry.example/core314:' "$scratch/$store.yaml" || die "$store does not use the image that it names."
    done
else
    say "left out: kubectl is not installed"
fi
