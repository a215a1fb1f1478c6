# What the scripts of this folder share; they source it after `cd` to the root of the checkout.
# It reads `--binary FILE`, `--output DIR` and `--version VERSION` and sets
#   binary   the program to pack, as an absolute path; built if none was given
#   version  of the package: what the program says, if none was given
#   output   the folder for the packages
#   work     an empty folder, removed at the end
# A script sets `linking` to --static first if its package must run on any Linux.

fail() { echo "packaging: $*" >&2; exit 1; }
need() {
  for command; do
    command -v "$command" >/dev/null || fail "$command is needed and not installed"
  done
}

binary='' version='' output=target/packages
while [ $# -gt 0 ]; do
  case "$1" in
    --binary) binary=${2:?"--binary needs a file"}; shift 2 ;;
    --output) output=${2:?"--output needs a folder"}; shift 2 ;;
    --version) version=${2:?"--version needs a version"}; shift 2 ;;
    *)
      echo "usage: packaging/$(basename "$0") [--binary FILE] [--output DIR] [--version VERSION]" >&2
      exit 2
      ;;
  esac
done

[ -n "$binary" ] || binary=$(packaging/binary ${linking:-})
[ -x "$binary" ] || fail "$binary is not a program"
binary=$(realpath "$binary")
[ -n "$version" ] || version=$("$binary" --version | cut -d ' ' -f 2)
[ -n "$version" ] || fail "$binary does not say its version"
mkdir -p "$output"
output=$(realpath "$output")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Packages of one commit have the same bytes, whenever they are made.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
export SOURCE_DATE_EPOCH
umask 022
export LC_ALL=C.UTF-8
