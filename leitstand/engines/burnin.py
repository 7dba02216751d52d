# SPDX-License-Identifier: Apache-2.0
"""The burn-in that comes with us: what a node has to bear before it serves again, if the operator has none of his own
(`leitstand up --burn-in FILE`). It ends with exit code 0 if the node is well. Read by the API.

With GPUs: all are there, none has uncorrected errors or memory that waits for a reset, NVIDIA's own diagnosis passes
where it is installed, and where PyTorch is, each GPU gets the same product of matrices again and again. In any case:
all cores get the same digests, and memory holds what was written to it.
"""

from typing import Final

SCRIPT: Final = r"""
seconds=${LEITSTAND_BURN_IN_S:-20}
fail() {
    echo "burn-in FAILED: $1"
    exit 1
}
echo "burn-in of ${LEITSTAND_NODE:-$(uname -n)}, $seconds s"
gpus=${LEITSTAND_GPUS_PER_NODE:-0}
[ "${LEITSTAND_GPUS_LOGICAL:-0}" = 1 ] && gpus=0
if [ "$gpus" -gt 0 ] && command -v nvidia-smi >/dev/null; then
    query="nvidia-smi --format=csv,noheader,nounits --query-gpu"
    found=$(nvidia-smi -L | grep -c '^GPU ')
    echo "GPUs: $found"
    [ "$found" -ge "$gpus" ] || fail "$found GPUs answer, not $gpus"
    $query=ecc.errors.uncorrected.volatile.total | grep -q '^[1-9]' && fail "memory errors since the last reset"
    $query=retired_pages.pending | grep -q '^Yes' && fail "retired pages wait for a reset"
    if command -v dcgmi >/dev/null; then
        dcgmi diag -r 2 || fail "dcgmi diag -r 2 ended with $?"
    elif python3 -c 'import torch' 2>/dev/null; then
        python3 - "$seconds" <<'END' || fail "a GPU does not compute the same twice"
import sys, time, torch
for index in range(torch.cuda.device_count()):
    torch.manual_seed(1)
    one = torch.randn(4096, 4096, device=f"cuda:{index}")
    right, until = one @ one, time.monotonic() + float(sys.argv[1])
    while time.monotonic() < until:
        if not torch.equal(one @ one, right):
            sys.exit(f"GPU {index} computes something else")
    print(f"GPU {index}: well", flush=True)
END
    fi
fi
command -v python3 >/dev/null || fail "python3 is not there, with which cores and memory are tried"
python3 - "$seconds" <<'END' || fail "a core or the memory is not well"
import hashlib, multiprocessing, os, sys, time
seconds = float(sys.argv[1])
def burn(core):
    until, word = time.monotonic() + seconds, b"leitstand"
    rounds = 0
    while time.monotonic() < until:
        first, again = (hashlib.sha256(word * 100_000).digest() for _ in range(2))
        if first != again:
            return core
        word, rounds = first, rounds + 1
    return -1
free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
held = bytearray(b"\xa5\x5a" * (min(free // 8, 256 << 20) // 2))
right = hashlib.sha256(held).digest()
with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
    bad = [core for core in pool.map(burn, sorted(os.sched_getaffinity(0)), chunksize=1) if core >= 0]
if bad or hashlib.sha256(held).digest() != right:
    sys.exit(f"cores {bad} compute something else" if bad else "memory does not hold what was written")
print(f"{len(os.sched_getaffinity(0))} cores and {len(held) >> 20} MiB of memory: well")
END
echo "burn-in passed"
"""
