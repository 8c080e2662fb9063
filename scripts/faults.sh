#!/usr/bin/env bash
# Runs kinds of faults in their long form, one after the other, and puts what they measured into docs/faults.md:
#   scripts/faults.sh kill stop
# `make faults` runs all kinds. CORE314_ROUNDS chooses the number of rounds (100), FAULTS_PROFILE a profile of
# cargo other than that of tests.
#
# A kind that is run again replaces its own part of the report. The parts and the outputs of the runs are kept in target/faults;
# a kind that failed is said to have failed, in the report and by the exit code.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
cd "$here/.."

[ $# -gt 0 ] || die "no kind of fault was given." \
    "Usage: scripts/faults.sh kill|stop|cut|postgres|clock|overload|disk|away|upgrade..."
profile=${FAULTS_PROFILE:-test}
parts=$PWD/target/faults
mkdir -p "$parts"

# A part of a test's name, and the parts of the report that it writes.
tests_of() {
    case $1 in
    kill) echo nodes_that_are_killed_again ;;
    stop) echo nodes_that_are_stopped_again ;;
    cut) echo nodes_that_are_cut_off_again ;;
    postgres) echo a_database_that_restarts_under_load ;;
    clock) echo nodes_whose_clocks_differ ;;
    overload) echo twice_what_a_server_takes ;;
    disk) echo 'recovered_from_on_sqlite' ;;
    away) echo a_database_that_is_gone_for_a_while ;;
    upgrade) echo work_in_flight_under_a_former_schema ;;
    *) die "unknown kind '$1'." "Known: kill stop cut postgres clock overload disk away upgrade." ;;
    esac
}
for kind in "$@"; do tests_of "$kind" >/dev/null; done

failed=()
for kind in "$@"; do
    say "$kind: its output goes to target/faults/$kind.log"
    mkdir -p "$parts/$kind"
    rm -f "$parts/$kind"/*.md
    status=0
    # One test at a time: the figures are those of one.
    CORE314_LONG=1 CORE314_FAULTS="$parts/$kind" "$here/with-postgres.sh" cargo test --locked --profile "$profile" \
        --features failpoints --test it -- --nocapture --test-threads=1 "$(tests_of "$kind")" \
        >"$parts/$kind.log" 2>&1 || status=$?
    # A name that no test has any more would pass without a run.
    grep -q '^test result: ok\. [1-9]' "$parts/$kind.log" || status=1
    printf '%s, commit %s\n' "$(date -u +%Y-%m-%d)" "$(git describe --always --dirty)" >"$parts/$kind/when"
    if [ "$status" -eq 0 ]; then
        printf passed >"$parts/$kind/result"
    else
        printf FAILED >"$parts/$kind/result"
        failed+=("$kind")
    fi
done

# Every part there is, in the order of their names.
{
    printf '# Fault runs\n\n'
    printf 'The real binary under load, and what it was put through; `make faults` runs it all and writes this page. Everything that\n'
    printf '[guarantees.md](guarantees.md) promises of it is checked after each round by the tests themselves\n'
    printf '(`tests/it/faults/checks.rs`): a kind in which anything did not hold has not passed.\n\n'
    printf -- '- Machine: %s cores of %s, %s, %s\n' "$(getconf _NPROCESSORS_ONLN)" \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1 || true)" "$(uname -sr)" \
        "$("$(postgres_bin)/postgres" --version)"
    printf -- '- Load, servers, database and receiver share it. Profile of the build: %s\n\n' "$profile"
    printf '| kind | result | run |\n|---|---|---|\n'
    for folder in "$parts"/*/; do
        printf '| %s | %s | %s |\n' "$(basename "$folder")" "$(cat "$folder/result")" "$(cat "$folder/when")"
    done
    find "$parts" -mindepth 2 -name '*.md' | awk -F/ '{ print $NF "\t" $0 }' | sort | cut -f 2- | while read -r part; do
        printf '\n'
        cat "$part"
    done
} >"$parts/report"
mv "$parts/report" docs/faults.md
say "docs/faults.md was written"
[ "${#failed[@]}" -eq 0 ] || die "failed: ${failed[*]}." "Their outputs are in target/faults."
