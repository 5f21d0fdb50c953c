#!/bin/sh
# The native module under AddressSanitizer with UBSan, ThreadSanitizer and valgrind. Each builds it again in a copy of
# the project and runs the tests of the native code there. Needs gcc, valgrind, and an environment with qatprep's
# development tools. Usage: tests/crypto/sanitize.sh [PYTHON] [asan|tsan|valgrind ...]; some minutes.
set -eu
cd "$(dirname "$0")/../.."
python=${1:-python3}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- asan tsan valgrind
python=$("$python" -c 'import sys; print(sys.executable)')
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r setup.py MANIFEST.in README.md LICENSE fixtures qatprep tests "$copy"
cp pyproject.toml "$copy/tests.toml"
cd "$copy"
sed '/^\[build-system\]/,/^$/d' tests.toml > pyproject.toml
export PYTHONPATH="$copy" PYTHONDONTWRITEBYTECODE=1 PYTHONMALLOC=malloc

# build FLAGS: setup.py's own build, with more compiler flags.
build() {
    rm -f qatprep/_native*.so
    "$python" - "$1" <<'END'
import importlib.util, subprocess, sys, sysconfig
import setuptools
found = []
setuptools.setup = lambda **options: found.extend(options["ext_modules"])
spec = importlib.util.spec_from_file_location("setup", "setup.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))
native = found[0]
flags = [flag for flag in native.extra_compile_args if flag != "-O2"] + sys.argv[1].split()
defines = [f"-D{name}={value}" for name, value in native.define_macros]
include = [f"-I{path}" for path in [*native.include_dirs, sysconfig.get_paths()["include"]]]
command = ["gcc", *flags, *defines, *include, "-shared", "-fPIC", *native.sources, *native.extra_objects]
subprocess.run([*command, *native.extra_link_args, "-o", "qatprep/_native.abi3.so"], check=True)
END
}

tests="tests/crypto/test_native.py tests/crypto/test_queue.py tests/crypto/test_qat.py"
# What measures time, or needs a child that dies as it would alone, says nothing here.
without="costs_next_to_nothing or no_warnings or never_a_crash or smoke_has_a_verdict or poll_delay or hangs or abi_of"
for kind; do
    echo "== $kind"
    case $kind in
    asan)
        build "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
        # Python keeps memory until it ends: leaks are valgrind's part.
        LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 \
            "$python" -m pytest -q -p no:cacheprovider $tests -k "not ($without)"
        ;;
    tsan)
        build "-O1 -g -fsanitize=thread"
        # The interpreter's own threads are not instrumented: only reports that name our files count.
        LD_PRELOAD=$(gcc -print-file-name=libtsan.so) TSAN_OPTIONS="exitcode=0 log_path=$copy/tsan" \
            "$python" -m pytest -q -p no:cacheprovider tests/crypto/test_queue.py tests/crypto/test_qat.py \
            -k "not ($without)"
        if grep -l 'qatprep/native/' "$copy"/tsan.* 2>/dev/null; then
            cat "$copy"/tsan.*
            exit 1
        fi
        echo "no report of ThreadSanitizer names our files"
        ;;
    valgrind)
        build "-O1 -g"
        # Valgrind knows no AVX-512: crypto_mb is refused there, as on a CPU without it; the rest is checked.
        # The interpreter and its other extensions have complaints of their own: ours have a file of ours on the stack.
        valgrind --quiet --leak-check=full --show-leak-kinds=definite --num-callers=40 --log-file="$copy/valgrind" \
            "$python" tests/crypto/exercise.py
        ours=$(cd qatprep/native && printf '%s|' *.c)
        if grep -E "\((${ours%|}):[0-9]+\)" "$copy/valgrind"; then
            echo "valgrind: memory of ours is lost or used wrongly: see above"
            exit 1
        fi
        echo "valgrind has no complaint about our files"
        ;;
    *)
        echo "unknown: $kind" >&2
        exit 2
        ;;
    esac
done
