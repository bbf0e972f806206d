#!/bin/sh
# Builds libmailring and installs it:
#
#     ffi/install.sh PREFIX
#
#     PREFIX/lib/libmailring.so.0 (and the links to it), PREFIX/lib/libmailring.a,
#     PREFIX/include/mailring.h, mailring.hpp and mailring_host_runtime.h,
#     PREFIX/lib/pkgconfig/mailring.pc, PREFIX/lib/cmake/mailring,
#     PREFIX/share/mailring/mailring.py (for PYTHONPATH) and mailring.supp (for valgrind)
#
# Needs cargo and a C compiler (CC, or cc). May be run from anywhere, and again. DESTDIR is put in front of PREFIX for packagers.
set -eu

if [ $# -ne 1 ] || [ -z "$1" ]; then
    echo "usage: install.sh PREFIX    (for example: install.sh \$HOME/.local)" >&2
    exit 2
fi
case $1 in
/*) prefix=$1 ;;
*) prefix=$PWD/$1 ;;
esac
ffi=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$ffi/../target/ffi}
case $target in
/*) ;;
*) target=$PWD/$target ;;
esac

CARGO_TARGET_DIR=$target cargo build --release --manifest-path "$ffi/Cargo.toml"

version=$(sed -n 's/^#define MR_VERSION_MAJOR //p' "$ffi/include/mailring.h").$(
    sed -n 's/^#define MR_VERSION_MINOR //p' "$ffi/include/mailring.h").$(
    sed -n 's/^#define MR_VERSION_PATCH //p' "$ffi/include/mailring.h")
to=${DESTDIR:-}$prefix
mkdir -p "$to/lib/pkgconfig" "$to/lib/cmake/mailring" "$to/include" "$to/share/mailring"

# Copied beside and moved over, so that a program that runs keeps the library that it has mapped.
put() {
    cp "$1" "$2.$$"
    chmod "$3" "$2.$$"
    mv -f "$2.$$" "$2"
}
# The shared library is linked here and not by cargo, which knows no versions of symbols.
built=$target/release/libmailring.a
${CC:-cc} -shared -o "$to/lib/libmailring.so.$version.$$" -Wl,-soname,libmailring.so.0 \
    -Wl,--version-script="$ffi/mailring.map" -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-s \
    -Wl,--whole-archive "$built" -Wl,--no-whole-archive -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
chmod 755 "$to/lib/libmailring.so.$version.$$"
mv -f "$to/lib/libmailring.so.$version.$$" "$to/lib/libmailring.so.$version"
ln -sf "libmailring.so.$version" "$to/lib/libmailring.so.0"
ln -sf libmailring.so.0 "$to/lib/libmailring.so"
cp "$built" "$to/lib/libmailring.a.$$"
strip -g "$to/lib/libmailring.a.$$" 2> /dev/null || true
chmod 644 "$to/lib/libmailring.a.$$"
mv -f "$to/lib/libmailring.a.$$" "$to/lib/libmailring.a"
put "$ffi/include/mailring.h" "$to/include/mailring.h" 644
put "$ffi/include/mailring.hpp" "$to/include/mailring.hpp" 644
put "$ffi/include/mailring_host_runtime.h" "$to/include/mailring_host_runtime.h" 644
put "$ffi/mailring-config.cmake" "$to/lib/cmake/mailring/mailring-config.cmake" 644
put "$ffi/examples/python/mailring.py" "$to/share/mailring/mailring.py" 644
put "$ffi/mailring.supp" "$to/share/mailring/mailring.supp" 644
cmake=$to/lib/cmake/mailring/mailring-config-version.cmake
sed -e "s|@VERSION@|$version|" -e "s|@MINOR@|${version%.*}|" \
    "$ffi/mailring-config-version.cmake.in" > "$cmake.$$"
mv -f "$cmake.$$" "$cmake"
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" "$ffi/mailring.pc.in" \
    > "$to/lib/pkgconfig/mailring.pc.$$"
mv -f "$to/lib/pkgconfig/mailring.pc.$$" "$to/lib/pkgconfig/mailring.pc"

echo "installed mailring $version in $to; programs find it with"
echo "    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LD_LIBRARY_PATH=$prefix/lib"
