#!/bin/bash
# Other systems beside this one, each measured by a program of its own with the definitions of
# `mailring bench`, on an otherwise idle machine:
#
#   bash tools/peers/run.sh [--json FILE] [--only NAME,NAME..]
#
#   rtt          one empty task, from its submission until the caller knows that it is through; p50
#   independent  many empty tasks at once: wall time / tasks
#   chain        many empty tasks, each waits for the one before: wall time / tasks
#   METG         the least wall time x 2 processors / tasks at which tasks compute half of what the
#                bare kernel does on both: stencil_1d and trivial of Task Bench, 4 wide, 2 workers
#
# What a system lacks stays empty; a system that is not here is named with the reason. Everything is
# built in a folder of its own below target/peers (or $PEERS_DIR), which may be removed; packages of
# Python come from PyPI into a venv there, iceoryx2 from crates.io. MAILRING names a built `mailring`;
# TASKFLOW_INCLUDE the folder of Taskflow's headers if they are not where the compiler looks.
set -u -o pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
all="mailring openmp openmpi taskflow iceoryx2 executor loky ray"
keys="rtt_ns_p50 independent_ns chain_ns metg_stencil_w4_us metg_trivial_w4_us"
limit=180 # seconds for each of the programs
json= only=$all

usage() {
    echo "usage: bash tools/peers/run.sh [--json FILE] [--only NAME,NAME..]; names: ${all// /, }" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case "$1" in
    --json) [ $# -ge 2 ] || usage; json=$2; shift 2 ;;
    --only) [ $# -ge 2 ] || usage; only=${2//,/ }; shift 2 ;;
    *) usage ;;
    esac
done
for name in $only; do
    case " $all " in *" $name "*) ;; *) echo "no peer is called $name" >&2; usage ;; esac
done

build=${PEERS_DIR:-$root/target/peers}
mkdir -p "$build"
# A short path: sockets have room for a hundred characters.
PEER_TEMP=$(mktemp -d /tmp/peers.XXXXXX)
PEER_PREFIX=peer$$_
PEER_KERNEL=$build/kernel.so
export PEER_TEMP PEER_PREFIX PEER_KERNEL
export PYTHONDONTWRITEBYTECODE=1 RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled

# Whoever still runs with our folder in its environment was started by a peer and left behind.
end_all() {
    local signal process
    for signal in TERM KILL; do
        for process in /proc/[0-9]*; do
            [ "${process#/proc/}" != $$ ] || continue
            if tr '\0' '\n' 2>/dev/null <"$process/environ" | grep -qxF "PEER_TEMP=$PEER_TEMP"; then
                kill -$signal "${process#/proc/}" 2>/dev/null
                left=1
            fi
        done
        [ -n "${left-}" ] && sleep 0.5
        left=
    done
}
cleanup() {
    # The shell exports the folder to its own helpers as well; they end by themselves.
    end_all 2>/dev/null
    rm -rf "$PEER_TEMP"
    rm -rf /dev/shm/"$PEER_PREFIX"*
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

declare -A value missing says
says=(
    [mailring]="forked processes; infers the graph while it is submitted"
    [openmp]="threads; infers it from depend clauses; the submitter works as well"
    [openmpi]="processes; no tasks: messages, and a program that is the graph"
    [taskflow]="threads; the graph is built before, which is not timed"
    [iceoryx2]="processes; no tasks: messages through shared memory, both sides spin"
    [executor]="ProcessPoolExecutor: processes; no graph: the caller submits what is ready"
    [loky]="processes; no graph: the caller submits what is ready"
    [ray]="processes; tasks name the results of others"
)

# Figures are lines of a key and a value.
measure() { # NAME COMMAND...
    local name=$1 key figure out=$PEER_TEMP/$1.out status
    shift
    # In the background, since a signal ends a wait, but nothing else, at once.
    timeout -k 5 $limit "$@" >"$out" 2>"$PEER_TEMP/$name.err" </dev/null &
    wait $!
    status=$?
    while read -r key figure; do
        case " $keys " in *" $key "*) value[$name.$key]=$figure ;; esac
    done <"$out"
    if [ $status -ne 0 ]; then
        missing[$name]="it failed with status $status: $(tail -n 1 "$PEER_TEMP/$name.err")"
    fi
}

# Builds with all that is said kept for the reason.
compile() { # NAME COMMAND...
    local name=$1 log=$PEER_TEMP/$1.log
    shift
    "$@" >"$log" 2>&1 </dev/null &
    wait $! && return
    missing[$name]="$(grep -m 1 -i error "$log" || tail -n 1 "$log")"
    return 1
}

mailring() {
    local program=${MAILRING-} out=$PEER_TEMP/mailring.json key figure
    if [ -z "$program" ]; then
        command -v cargo >/dev/null || { missing[mailring]="no cargo"; return; }
        compile mailring cargo build --release --quiet --manifest-path "$root/Cargo.toml" \
            -p mailring-tools || return
        program=$root/target/release/mailring
    fi
    compile mailring timeout -k 5 $limit "$program" bench --quick --only tasks,taskbench \
        --json "$out" || return
    # The medians stand at the top of the file, one a line or all in one.
    for key in $keys floor_pingpong_ns; do
        figure=$(grep -o "\"$key\": *[0-9][0-9.e+-]*" "$out" | head -n 1 | sed 's/.*: *//')
        [ -z "$figure" ] || value[mailring.$key]=$figure
    done
    figure=$(grep -o '"independent_per_s": *[0-9][0-9.e+-]*' "$out" | head -n 1 | sed 's/.*: *//')
    [ -z "$figure" ] || value[mailring.independent_ns]=$(awk "BEGIN { print 1e9 / $figure }")
}

openmp() {
    command -v gcc >/dev/null || { missing[openmp]="no gcc"; return; }
    compile openmp gcc -O3 -fopenmp "$here/openmp.c" -o "$build/openmp" -lm || return
    measure openmp "$build/openmp"
}

openmpi() {
    if ! command -v mpicc >/dev/null || ! command -v mpirun >/dev/null; then
        missing[openmpi]="no mpicc and mpirun; Debian: apt-get install openmpi-bin libopenmpi-dev"
        return
    fi
    compile openmpi mpicc -O3 "$here/mpi.c" -o "$build/openmpi" -lm || return
    # What a rank that was killed leaves behind goes with our folder.
    mkdir "/dev/shm/$PEER_PREFIX" || { missing[openmpi]="no /dev/shm"; return; }
    local options="--mca btl_vader_backing_directory /dev/shm/$PEER_PREFIX --oversubscribe -n 2"
    [ "$(id -u)" -ne 0 ] || options="--allow-run-as-root $options"
    # shellcheck disable=SC2086 # words
    TMPDIR=$PEER_TEMP measure openmpi mpirun $options "$build/openmpi"
}

taskflow() {
    command -v g++ >/dev/null || { missing[taskflow]="no g++"; return; }
    local include=${TASKFLOW_INCLUDE:+-I$TASKFLOW_INCLUDE}
    # shellcheck disable=SC2086 # nothing, or a word
    if ! echo '#include <taskflow/taskflow.hpp>' | g++ -std=c++20 $include -fsyntax-only -x c++ - \
        2>/dev/null; then
        missing[taskflow]="no header taskflow/taskflow.hpp; TASKFLOW_INCLUDE may name its folder"
        return
    fi
    # shellcheck disable=SC2086
    compile taskflow g++ -std=c++20 -O3 -pthread $include "$here/taskflow.cpp" -o "$build/taskflow" ||
        return
    measure taskflow "$build/taskflow"
}

iceoryx2() {
    command -v cargo >/dev/null || { missing[iceoryx2]="no cargo"; return; }
    # A copy, since a build writes a lock file.
    rm -rf "$build/iceoryx2"
    cp -r "$here/iceoryx2" "$build/iceoryx2"
    compile iceoryx2 env CARGO_TARGET_DIR="$build/iceoryx2-target" cargo build --release --quiet \
        --manifest-path "$build/iceoryx2/Cargo.toml" || return
    measure iceoryx2 "$build/iceoryx2-target/release/mailring-peer-iceoryx2"
}

# A venv with one package, or none.
python() { # NAME [PACKAGE]
    local name=$1 package=${2-} venv=$build/venv
    command -v python3 >/dev/null || { missing[$name]="no python3"; return; }
    command -v gcc >/dev/null || { missing[$name]="no gcc for the kernel"; return; }
    compile "$name" gcc -O3 -shared -fPIC "$here/kernel.c" -o "$PEER_KERNEL" -lm || return
    [ -x "$venv/bin/python" ] || compile "$name" python3 -m venv "$venv" || return
    if [ -n "$package" ] && ! "$venv/bin/python" -c "import $package" 2>/dev/null; then
        compile "$name" "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            "$package" || return
    fi
    measure "$name" "$venv/bin/python" "$here/pools.py" "$name"
}
executor() { python executor; }
loky() { python loky loky; }
ray() { python ray ray; }

model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
read -r load _ </proc/loadavg
for name in $only; do
    echo "$name ..." >&2
    "$name"
done

# Nanoseconds in the unit that fits.
show() {
    awk -v ns="$1" 'BEGIN {
        split("ns us ms s", unit)
        for (at = 1; ns >= 1000 && at < 4; at++) ns = ns / 1000
        printf("%.*f %s", ns >= 100 ? 0 : ns >= 10 ? 1 : 2, ns, unit[at])
    }'
}
cell() { # NAME KEY FACTOR
    local figure=${value[$1.$2]-}
    [ -z "$figure" ] || show "$(awk "BEGIN { print $figure * $3 }")"
}
printf '%s, %s processors, Linux %s, load %s before\n' "$model" "$(nproc)" "$(uname -r)" "$load"
printf '%-10s %10s %12s %10s %13s %13s  %s\n' \
    "" "round trip" independent chain "METG stencil" "METG trivial" "how"
for name in $only; do
    [ -z "${missing[$name]-}" ] || continue
    printf '%-10s %10s %12s %10s %13s %13s  %s\n' "$name" "$(cell $name rtt_ns_p50 1)" \
        "$(cell $name independent_ns 1)" "$(cell $name chain_ns 1)" \
        "$(cell $name metg_stencil_w4_us 1000)" "$(cell $name metg_trivial_w4_us 1000)" \
        "${says[$name]}"
done
for name in $only; do
    [ -z "${missing[$name]-}" ] || echo "missing: $name: ${missing[$name]}"
done

quoted() { printf '"%s"' "$(printf %s "$1" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')"; }
if [ -n "$json" ]; then
    {
        printf '{\n  "systems": {'
        comma=
        for name in $only; do
            [ -z "${missing[$name]-}" ] || continue
            printf '%s\n    "%s": {"how": %s' "$comma" "$name" "$(quoted "${says[$name]}")"
            for key in $keys; do
                [ -z "${value[$name.$key]-}" ] || printf ', "%s": %s' "$key" "${value[$name.$key]}"
            done
            printf '}'
            comma=,
        done
        printf '\n  },\n  "missing": {'
        comma=
        for name in $only; do
            [ -n "${missing[$name]-}" ] || continue
            printf '%s\n    "%s": %s' "$comma" "$name" "$(quoted "${missing[$name]}")"
            comma=,
        done
        printf '\n  },\n  "machine": {"model": %s, "processors": %s, "kernel": %s, "load": %s}\n}\n' \
            "$(quoted "$model")" "$(nproc)" "$(quoted "$(uname -r)")" "$load"
    } >"$json"
fi
