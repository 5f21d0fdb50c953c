from collections.abc import Sequence
from typing import Literal, TypedDict, final

from typing_extensions import Buffer

from qatprep.instruction_sets import Gate

BUNDLED: bool
"""Whether crypto_mb is linked in."""

def cpuid(leaf: int, subleaf: int = 0, /) -> tuple[int, int, int, int]:
    """eax, ebx, ecx, edx. OSError(ENOTSUP) on anything but x86-64."""

def xgetbv(index: int, /) -> int:
    """One extended control register. OSError(ENOTSUP) where the instruction would fault."""

def missing(paths: Gate, /) -> tuple[str, str]:
    """The code path that crypto_mb would take here, and what that executes and is not there, separated by ", ".

    "" for the path where it would take none. Its code may run when nothing is missing.
    """

def wipe(key: bytes | bytearray, /) -> None:
    """Overwrite a key where it lies, bytes too: hand over an object nobody else has. BufferError when read-only."""

@final
class Key:
    """A private key: RSA (2048, 3072, 4096 bits, e = 65537) or P-256. Its memory is wiped when it goes."""

    def __new__(cls, der: bytes | bytearray) -> Key:
        """From PKCS#1 or SEC1 DER. `der` is wiped, even when it is bytes: hand over an object nobody else has.

        ValueError, still wiped, when it is no such key. BufferError for a buffer that cannot be wiped.
        """
    @property
    def kind(self) -> Literal["rsa", "p256"]: ...
    @property
    def bits(self) -> int: ...

@final
class Jobs:
    """What is signed: padded messages as long as the modulus (RSA), or SHA-256 digests (P-256)."""

    def __new__(cls, key: Key, inputs: Sequence[bytes]) -> Jobs: ...
    def expect(self, results: Sequence[bytes], /) -> None:
        """What the results must be, one a job; every result of run() is then compared with it.

        RuntimeError while they are being signed.
        """

@final
class Signer:
    """A library that signs."""

    @property
    def provider(self) -> Literal["cryptomb", "openssl"]: ...
    @property
    def library(self) -> str:
        """Path of the library, or "bundled"."""
    @property
    def version(self) -> str: ...
    @property
    def path(self) -> str:
        """The code path of crypto_mb that was found to be the one to run, or ""."""
    @property
    def width(self) -> int:
        """How many operations it does at once."""

class WorkerReport(TypedDict):
    completed: int
    failed: int
    """Operations that the library refused, or whose result was not the expected one."""
    elapsed_ns: int
    cpu_ns: int
    sizes: tuple[int, ...]
    """How often a queue of that size was worked off; index 0 is never used."""
    latencies: bytes
    """Native uint64 ns, one for each arrival; 2**64-1 for one that got no result. b"" without arrivals."""
    results: list[bytes | None]
    """The last result of each job: a signature (RSA), or r and s of 32 bytes each."""

def mb_bundled(paths: Gate, /) -> Signer:
    """The crypto_mb linked in. OSError, saying what is missing, where its code may not run."""

def mb_open(path: str, paths: Gate, /) -> Signer:
    """A libcrypto_mb.so of the system. OSError as above, or when it cannot be loaded.

    `paths` of nothing is for a library that needs no special instructions: the tests' stand-in.
    """

def ssl_open(path: str, /) -> Signer:
    """A libcrypto.so (OpenSSL 1.1, 3, BoringSSL). OSError when it cannot be loaded."""

def sign(signer: Signer, jobs: Jobs, /) -> list[bytes | None]:
    """Sign every job once, in batches; None where the library refused."""

def run(
    signer: Signer,
    jobs: Jobs,
    arrivals: Sequence[Buffer] | None = None,
    workers: int = 1,
    duration_ns: int = 1_000_000_000,
    poll_delay_ns: int = 0,
    check: bool = False,
    bare: bool = False,
    queues: int = 1,
) -> list[WorkerReport]:
    """Put load on a signer, one report a worker. Ctrl-C ends it (KeyboardInterrupt).

    `arrivals`, one array of ascending native uint64 ns a worker, is an open loop that is given up after `duration_ns`.
    Without it every worker always has something to do. `check` does what Envoy's CryptoMB provider does beside signing:
    it turns each RSA result back with the public key, and for P-256 draws a nonce and makes numbers for each operation.
    `queues` a worker share its arrivals, one for each certificate that Envoy would have; `bare` is the loop without
    queue, timer and comparison.
    """

class Instance(TypedDict):
    name: str
    part: str
    version: str
    bus: int
    node: int
    rsa: bool
    """Whether it does RSA: libqat also counts instances that do not."""
    polled: bool
    offloaded: bool
    """False for a software implementation."""

class QatReport(TypedDict):
    workers: list[WorkerReport]
    retries: int
    """How often the device's queue was full."""
    spurious: int
    """Second results for one operation, and results of operations given up in an earlier run."""
    lost: int
    """Operations that never came back. No run() after that: the device may still write to their memory."""
    last_status: int
    """The last status other than success of an operation; 0 when all succeeded."""
    polls: int
    poll_cpu_ns: int

@final
class Qat:
    """libqat and libusdm, loaded. To be used in a process of its own: they may block, write and end the process."""

    def __new__(cls, libqat: str, libusdm: str) -> Qat:
        """OSError when one of them, or a function in it, is missing."""
    def start(self, section: str, /) -> tuple[int, str]:
        """(0, ""), or libqat's status and the call that gave it."""
    def stop(self) -> None: ...
    def instances(self) -> list[Instance]: ...
    def run(
        self,
        jobs: Jobs,
        arrivals: Sequence[Buffer] | None = None,
        workers: int = 1,
        duration_ns: int = 1_000_000_000,
        poll_delay_ns: int = 0,
        depth: int = 64,
        patience_ns: int = 2_000_000_000,
    ) -> QatReport:
        """Put load on the instances, round-robin, with a polling thread each; see run() for the rest.

        `depth`: operations in flight a worker. `patience_ns`: how long results may take after the last was sent.
        """
