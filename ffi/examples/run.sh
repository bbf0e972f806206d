#!/bin/sh
# Installs libmailring into a temporary place, builds the C and C++ examples against it, runs these
# and the Python one, and checks what they print. Leaves nothing behind.
#
#     ffi/examples/run.sh
#
# Needs cargo, cc, c++, pkg-config and python3.
set -eu

examples=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

"$examples/../install.sh" "$work/prefix" > "$work/install.log" 2>&1 || {
    cat "$work/install.log" >&2
    exit 1
}
export PKG_CONFIG_PATH="$work/prefix/lib/pkgconfig"
export LD_LIBRARY_PATH="$work/prefix/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"

# expect NAME COMMAND...: what it prints must be standard input, where * stands for anything.
expect() {
    name=$1
    shift
    if ! "$@" > "$work/said" 2> "$work/errors"; then
        echo "$name failed:" >&2
        cat "$work/said" "$work/errors" >&2
        exit 1
    fi
    while IFS= read -r wanted; do
        IFS= read -r line <&3 || line="(nothing)"
        # shellcheck disable=SC2254
        case $line in
        $wanted) echo "$name: $line" ;;
        *)
            printf '%s said\n    %s\ninstead of\n    %s\n' "$name" "$line" "$wanted" >&2
            exit 1
            ;;
        esac
    done 3< "$work/said"
    if [ -s "$work/errors" ]; then
        echo "$name complained:" >&2
        cat "$work/errors" >&2
        exit 1
    fi
}

# shellcheck disable=SC2046
cc -std=c11 -Wall -Wextra -Wpedantic -Werror -O2 "$examples/c/graph.c" \
    $(pkg-config --cflags --libs mailring) -o "$work/graph"
expect c "$work/graph" <<'END'
1000 tasks on 2 workers: sum = 4464
error: task 1000 (`refuse`) failed on worker [01], attempt 1: a pear is not 42 (it returned 7)
task 1000, `refuse`, attempt 1: a pear is not 42 (it returned 7)
END

# shellcheck disable=SC2046
cc -std=c11 -Wall -Wextra -Wpedantic -Werror -O2 "$examples/c/replay.c" \
    $(pkg-config --cflags --libs mailring) -o "$work/replay"
expect replay "$work/replay" <<'END'
recorded: 14 tasks on 2 buffers
2 steps: 1 2 1 0 0 0 0 0
8 steps: 1 8 28 56 70 56 28 8
another row: 1 11 10 0 0 0 0 0
END

# shellcheck disable=SC2046
c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -O2 "$examples/cpp/stencil.cpp" \
    $(pkg-config --cflags --libs mailring) -o "$work/stencil"
expect c++ "$work/stencil" <<'END'
100 steps of 8 tiles: largest difference 0
`step` failed on worker [01]: a tile of 802 cells needs 804 old ones, not 802 (it returned 1)
END

expect python python3 -B "$examples/python/collatz.py" <<'END'
longest of 2000: 181 steps, found in another process
`by nothing` failed on worker [01]: ZeroDivisionError: *
END
echo "all examples ran"
