#!/usr/bin/env bash
# Runs a command beside a private PostgreSQL server and returns the command's status:
#   scripts/with-postgres.sh cargo test --workspace
#
# The command finds in its environment
#   CORE314_TEST_POSTGRES_URL  postgres://core314:PASSWORD@127.0.0.1:PORT/postgres
# whose role may create roles and databases but is neither superuser nor exempt from row-level
# security: with more rights than production has, the isolation tests would prove nothing.
#
# CORE314_TEST_POSTGRES_CONTROL=PATH, which is only printed beside it on the standard error, is a program that passes its
# arguments to this server's pg_ctl (`PATH -m immediate restart`): for a test that started the script for itself. Others
# share their server.
#
# Why a server of one's own: it needs no rights on an installed one, cannot touch its data, and is
# as durable as production's (fsync stays on). It lives in a fresh temporary directory, listens on
# the loopback address alone, and is stopped and removed at the end, also after Ctrl-C or SIGTERM.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

[ $# -gt 0 ] || die "no command was given." "Usage: scripts/with-postgres.sh COMMAND [ARGUMENT...]"
bin=$(postgres_bin) || die "PostgreSQL $POSTGRES_OLDEST or newer is not installed." \
    "Run scripts/provide.sh postgres, or install it so that its initdb is in PATH."

base=$(mktemp -d "${TMPDIR:-/tmp}/core314-postgres.XXXXXX")
data=$base/data
log=$base/set-up.log
server_log=$base/server.log
child=

# The server refuses to run as root.
if [ "$(id -u)" -eq 0 ]; then
    owner=postgres
    id "$owner" >/dev/null 2>&1 || owner=nobody
    chown "$owner" "$base"
    as_owner() { (cd "$base" && runuser -u "$owner" -- "$@"); }
else
    as_owner() { (cd "$base" && "$@"); }
fi

# shellcheck disable=SC2317  # called by the traps
# Also called when the set-up failed half-way. pg_ctl takes the process id from this directory's own
# postmaster.pid, so no other server can be hit.
clean_up() {
    trap - EXIT INT TERM HUP
    if [ -f "$data/postmaster.pid" ]; then
        as_owner "$bin/pg_ctl" -D "$data" -m immediate -w -t 30 stop >/dev/null ||
            printf 'warning: the private PostgreSQL in %s did not stop\n' "$base" >&2
    fi
    rm -rf "$base"
}
# shellcheck disable=SC2317  # called by the traps
# A signal ends the command first, with its whole process group, and then the server.
interrupted() {
    if [ -n "$child" ]; then
        kill -s "$1" -- "-$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    exit "$2"
}
trap clean_up EXIT
trap 'interrupted INT 130' INT
trap 'interrupted TERM 143' TERM
trap 'interrupted HUP 129' HUP

# Hexadecimal, so that it needs no escaping in SQL or in a URL.
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

as_owner "$bin/initdb" -D "$data" -U postgres --encoding=UTF8 --locale=C >"$log" 2>&1 ||
    { cat "$log" >&2 && die "initdb failed in $base." "Its output is above."; }
# The superuser has no password, and nothing but a password opens the door. Checked with MD5, though SCRAM is what production
# should use: its 4,096 rounds, unoptimised and at every connection, were a quarter of the tests' processor time.
echo "host all all 127.0.0.1/32 md5" | as_owner tee "$data/pg_hba.conf" >/dev/null
as_owner tee -a "$data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
password_encryption = md5
CONF
# Single-user mode sets up the role before anything listens.
echo "CREATE ROLE core314 LOGIN CREATEROLE CREATEDB PASSWORD '$password'" |
    as_owner "$bin/postgres" --single -D "$data" postgres >>"$log" 2>&1 ||
    { cat "$log" >&2 && die "the role could not be created." "The server's output is above."; }

# No port can be reserved, so a few are tried; below the range that outgoing connections use.
port=
for _ in 1 2 3 4 5; do
    candidate=$((20000 + (RANDOM % 10000)))
    if as_owner "$bin/pg_ctl" -D "$data" -l "$server_log" -o "-p $candidate" -w -t 60 start >/dev/null 2>&1; then
        port=$candidate
        break
    fi
done
[ -n "$port" ] || { cat "$server_log" >&2 && die "PostgreSQL did not start in $base." "Its log is above."; }

# Read by a shell of its own, which has none of this one's variables.
{
    printf '#!/bin/sh\ncd %q && exec ' "$base"
    [ "$(id -u)" -ne 0 ] || printf '%q -u %q -- ' "$(command -v runuser)" "$owner"
    printf '%q -D %q -l %q -o "-p %s" -w -t 60 "$@"\n' "$bin/pg_ctl" "$data" "$server_log" "$port"
} >"$base/control"
chmod 0755 "$base/control"

export CORE314_TEST_POSTGRES_URL="postgres://core314:$password@127.0.0.1:$port/postgres"
printf 'CORE314_TEST_POSTGRES_CONTROL=%s\n' "$base/control" >&2
printf 'CORE314_TEST_POSTGRES_URL=%s\n' "$CORE314_TEST_POSTGRES_URL" >&2

# A process group of its own, so that a signal reaches everything that the command started.
set -m
"$@" </dev/null &
child=$!
set +m
status=0
wait "$child" || status=$?
child=
exit "$status"
