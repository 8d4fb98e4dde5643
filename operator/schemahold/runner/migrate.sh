# What runs as the first process of the container "migrate", in the user's image, with the static busybox as its shell:
#
#     /schemahold/busybox sh /schemahold/migrate.sh COMMAND [ARGUMENT…]
#
# It asks the container "lock" for its start, runs COMMAND as a child, hands over its exit code, waits until that is
# recorded, and exits with it.  It exits with 79 if COMMAND was not allowed to start, or if its 0 was not recorded as
# succeeded.  It needs nothing from the image: no shell, no coreutils, no writable root, no particular uid.
# Standard output and error are COMMAND's; the script writes to stderr only when COMMAND has not run, or its 0 does not
# count.
#
# The files are described in docs/architecture.md ("In the pod").  Every one appears by rename.

dir=${SCHEMAHOLD_SHARED:-/schemahold}
busybox=$dir/busybox
not_recorded=79
child=
terminated=

say() { echo "schemahold: $*" >&2; }

# put NAME TEXT: the file NAME with one line, readable for lock whatever our umask is.
put() {
    (umask 022; echo "$2" >"$dir/.$1.migrate") && "$busybox" mv "$dir/.$1.migrate" "$dir/$1"
}

# As the first process we get the pod's signals, and COMMAND has to hear of them.
# A shell starts background children with INT and QUIT ignored; a COMMAND that has left it so gets TERM instead.
forward() { # NAME BIT (of the signal in SigIgn, whose last 4 hex digits are the signals 1 to 16)
    terminated=1
    caught=1
    [ -n "$child" ] || return 0
    if [ -n "$2" ] && ignored "$2"; then
        kill -TERM "$child" 2>/dev/null
    else
        kill -"$1" "$child" 2>/dev/null
    fi
}
ignored() {
    while read -r key value; do
        case $key in
        SigIgn:) [ $((0x${value#????????????} & $1)) -ne 0 ]; return ;;
        esac
    done 2>/dev/null <"/proc/$child/status"
    return 1
}
# Signals that stop nothing are passed on, and count for nothing here.
relay() {
    caught=1
    [ -z "$child" ] || kill -"$1" "$child" 2>/dev/null
}
trap 'forward TERM ""' TERM
trap 'forward INT 2' INT
trap 'forward QUIT 4' QUIT
trap 'forward HUP ""' HUP
trap 'relay USR1' USR1
trap 'relay USR2' USR2

# Interleaving: the container is run twice in one pod.  mkdir succeeds once.
if ! "$busybox" mkdir "$dir/started" 2>/dev/null; then
    say "not started: this container has run before in this pod"
    exit $not_recorded
fi

if [ -n "$terminated" ]; then
    say "not started: the pod was told to stop"
    exit $not_recorded
fi
put ask "" || { say "not started: cannot write to $dir"; exit $not_recorded; }

while [ ! -e "$dir/go" ]; do
    if [ -e "$dir/refused" ]; then
        read -r why <"$dir/refused"
        say "not started: $why"
        exit $not_recorded
    fi
    # Interleaving: SIGTERM while lock decides.  The rename succeeds for one of us; if lock was first, its word counts.
    if [ -n "$terminated" ] && "$busybox" mv "$dir/ask" "$dir/withdrawn" 2>/dev/null; then
        say "not started: the pod was told to stop"
        exit $not_recorded
    fi
    "$busybox" sleep 0.1
done

# Interleaving: SIGTERM after lock has taken the ask.  The row says running, so lock is told that nothing ran.
if [ -n "$terminated" ]; then
    put exit withdrawn
    say "not started: the pod was told to stop"
    exit $not_recorded
fi

while IFS= read -r line; do
    case $line in
    PGAPPNAME=*) [ -n "${PGAPPNAME+set}" ] || export PGAPPNAME="${line#*=}" ;;
    PGOPTIONS=*) export PGOPTIONS="${PGOPTIONS:+$PGOPTIONS }${line#*=}" ;;
    esac
done <"$dir/held"

# COMMAND is the image's program, also where the shell has a builtin or busybox an applet of that name: a path with a
# slash is neither.  As in the container runtime, an image without PATH has the usual one.
find() {
    case $1 in */*) echo "$1"; return ;; esac
    IFS=:
    for folder in ${PATH-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}; do
        if [ -f "${folder:-.}/$1" ] && [ -x "${folder:-.}/$1" ]; then
            echo "${folder:-.}/$1"
            return
        fi
    done
    return 1
}
run() {
    program=$(set -f; find "$1") || { say "$1: not found in PATH"; exit 127; }
    shift
    exec "$program" "$@"
}
(trap - TERM HUP USR1 USR2; run "$@") &
child=$!
# Interleaving: SIGTERM between the check above and here found no child.
[ -z "$terminated" ] || kill -TERM "$child" 2>/dev/null

# A trapped signal ends wait early, with a code that is not the child's, even if the child has just been reaped; asked
# again, the shell still knows.
while :; do
    caught=
    wait "$child"
    code=$?
    [ -n "$caught" ] || break
done

# A full disk must not keep the outcome from being recorded: there may be room in a moment.
until put exit "$code" 2>/dev/null; do "$busybox" sleep 1; done
while [ ! -e "$dir/recorded" ]; do
    "$busybox" sleep 0.1
done
read -r state <"$dir/recorded"
if [ "$code" -eq 0 ] && [ "$state" != succeeded ]; then
    say "the command ended with 0, but the ledger says $state; see the log of container lock"
    exit $not_recorded
fi
exit "$code"
