#!/bin/sh
# Builds libmailring and installs it:
#
#     ffi/install.sh PREFIX
#
#     PREFIX/lib/libmailring.so.0 (and the links to it), PREFIX/lib/libmailring.a,
#     PREFIX/include/mailring.h and mailring.hpp, PREFIX/lib/pkgconfig/mailring.pc
#
# Needs cargo. May be run from anywhere, and again. DESTDIR is put in front of PREFIX for packagers.
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
mkdir -p "$to/lib/pkgconfig" "$to/include"

# Copied beside and moved over, so that a program that runs keeps the library that it has mapped.
put() {
    cp "$1" "$2.new"
    chmod "$3" "$2.new"
    mv -f "$2.new" "$2"
}
put "$target/release/libmailring.so" "$to/lib/libmailring.so.$version" 755
ln -sf "libmailring.so.$version" "$to/lib/libmailring.so.0"
ln -sf libmailring.so.0 "$to/lib/libmailring.so"
put "$target/release/libmailring.a" "$to/lib/libmailring.a" 644
put "$ffi/include/mailring.h" "$to/include/mailring.h" 644
put "$ffi/include/mailring.hpp" "$to/include/mailring.hpp" 644
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" "$ffi/mailring.pc.in" \
    > "$to/lib/pkgconfig/mailring.pc.new"
mv -f "$to/lib/pkgconfig/mailring.pc.new" "$to/lib/pkgconfig/mailring.pc"

echo "installed mailring $version in $to; programs find it with"
echo "    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LD_LIBRARY_PATH=$prefix/lib"
