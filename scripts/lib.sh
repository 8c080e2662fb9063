# shellcheck shell=bash
# What the scripts share: messages, and where the installed programs are. Sourced, never run.

# runuser is in sbin, which a bare environment leaves out.
PATH="$PATH:/usr/sbin:/sbin"

# security_invoker views, which the schema uses, came with this release.
POSTGRES_OLDEST=15

# Programs that belong to the tests alone live here, outside the build directory: `make clean` keeps them.
# shellcheck disable=SC2034  # read by the scripts that source this file
TOOLS_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/core314/tools"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

# die WHAT NEXT...: what is wrong, then what to do about it, each on its own line.
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    printf '       %s\n' "$@" >&2
    exit 1
}

# Prints the directory of the newest complete set of server programs, old ones left out.
postgres_bin() {
    local found="" newest=0 dir version
    for dir in "$(dirname "$(readlink -f "$(command -v initdb || echo /nonexistent/initdb)")")" \
        "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin; do
        if ! [ -x "$dir/initdb" ] || ! [ -x "$dir/postgres" ] || ! [ -x "$dir/pg_ctl" ]; then continue; fi
        # "postgres (PostgreSQL) 15.4 (Debian 15.4-1)", or "17beta1" in place of the number.
        version=$("$dir/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
        if [ "$version" -ge "$POSTGRES_OLDEST" ] && [ "$version" -gt "$newest" ]; then
            newest=$version found=$dir
        fi
    done
    [ -n "$found" ] && echo "$found"
}

# Prints the path of Alertmanager, called `alertmanager` upstream and `prometheus-alertmanager` in Debian.
alertmanager_bin() {
    command -v prometheus-alertmanager || command -v alertmanager ||
        { [ -x "$TOOLS_DIR/prometheus-alertmanager" ] && echo "$TOOLS_DIR/prometheus-alertmanager"; }
}

# Prints a Python that has aiosmtpd, an SMTP server that is not ours. What tests/it/providers/foreign_smtp.py imports of it
# decides: one from before 1.3 has no AuthResult, and is as good as none.
aiosmtpd_python() {
    local python
    for python in python3 "$TOOLS_DIR/python-aiosmtpd"; do
        "$python" -c 'from aiosmtpd.smtp import SMTP, AuthResult' 2>/dev/null && command -v "$python" && return
    done
    return 1
}
