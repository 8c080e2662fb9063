#!/usr/bin/env bash
# Changes the pure domain, one place at a time, and looks whether its tests notice (cargo-mutants):
#   scripts/mutants.sh                     a sample: one of MUTANTS_SHARDS parts, spread over the whole crate
#   MUTANTS_SHARD=3 scripts/mutants.sh     another part of it, from 0; all of them are the whole
#   scripts/mutants.sh --file '*/retry.rs' whatever else cargo-mutants takes, such as one file
#
# Bounded in every way: one mutant at a time, MUTANTS_TEST_SECONDS for the tests of each (a mutant that loops for ever is one that
# was noticed), MUTANTS_BUILD_SECONDS to build it, MUTANTS_SECONDS for everything. What was found until then stays in
# target/mutants/mutants.out. scripts/mutants.toml says what is left out, and why.
#
# Fails where a mutant has survived: a test that cannot fail is a defect.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
cd "$here/.."

PATH="$PATH:$HOME/.cargo/bin"
shards=${MUTANTS_SHARDS:-32}
shard=${MUTANTS_SHARD:-0}
test_seconds=${MUTANTS_TEST_SECONDS:-300}
build_seconds=${MUTANTS_BUILD_SECONDS:-600}
seconds=${MUTANTS_SECONDS:-7200}
output=target/mutants

for number in "$shards" "$shard" "$test_seconds" "$build_seconds" "$seconds"; do
    [[ "$number" =~ ^[0-9]+$ ]] || die "'$number' is no whole number." "The variables that begin with MUTANTS_ are."
done
[ "$shard" -lt "$shards" ] || die "there is no part $shard of $shards." "MUTANTS_SHARD is 0 to $((shards - 1))."
command -v cargo-mutants >/dev/null || die "cargo-mutants is not installed." \
    'cargo install --locked cargo-mutants; make mutants does that by itself.'

# Results of an earlier run would pass for this one's.
rm -rf "$output"
mkdir -p "$output"
say "mutants of core314-domain, part $shard of $shards, at most $seconds s"
status=0
timeout --foreground --signal=INT --kill-after=60 "$seconds" nice -n 10 \
    cargo mutants --package core314-domain --config scripts/mutants.toml --output "$output" \
    --jobs 1 --timeout "$test_seconds" --build-timeout "$build_seconds" \
    --shard "$shard/$shards" --sharding round-robin --no-shuffle "$@" || status=$?

count() { if [ -f "$output/mutants.out/$1.txt" ]; then wc -l <"$output/mutants.out/$1.txt"; else echo 0; fi; }
say "noticed $(count caught), by looping for ever $(count timeout), survived $(count missed), could not be built $(count unviable)"
case $status in
# By the codes of cargo-mutants: 3 says that some have timed out, which is to notice them.
0 | 3) ;;
2) die "mutants have survived: $output/mutants.out/missed.txt lists them." "Write the test that notices each, or take the code out." ;;
4) die "the tests fail without any mutant." "Mend that first." ;;
124 | 137) die "$seconds s were not enough: what was found until then is in $output/mutants.out." "MUTANTS_SECONDS gives more." ;;
*) die "cargo-mutants ended with $status." "Its output is above." ;;
esac
# With both, cargo-mutants says that some have timed out.
[ "$(count missed)" -eq 0 ] || die "mutants have survived: $output/mutants.out/missed.txt lists them."
