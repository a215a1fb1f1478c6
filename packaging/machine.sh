# For which machines the program is: sets
#   machine  x86_64 or aarch64
#   linked   static, or glibc with the oldest version that has all its symbols: glibc-2.34
# Sourced after common.sh.
need readelf

case "$(LC_ALL=C readelf --file-header "$binary" | sed -n 's/^ *Machine: *//p')" in
  *X86-64*) machine=x86_64 ;;
  AArch64*) machine=aarch64 ;;
  *) fail "$binary is for a machine that has no package here" ;;
esac
if readelf --program-headers --wide "$binary" | grep -q INTERP; then
  oldest=$(readelf --version-info --wide "$binary" | grep -o 'GLIBC_2\.[0-9]*' |
    sed 's/.*_//' | sort -V | tail -n 1)
  [ -n "$oldest" ] || fail "$binary is linked against a C library that is not glibc"
  linked=glibc-$oldest
else
  linked=static
fi
