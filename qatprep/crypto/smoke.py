"""Does signing work on this node, and with what: every provider signs for itself and is judged for itself.

A signature counts only when an implementation other than the one that made it accepts it. What did not run is said not
to have run; nothing is replaced by anything else.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from enum import StrEnum

from qatprep.crypto import library, native, smoke_qat
from qatprep.crypto.keys import KeyKind, Work, make
from qatprep.crypto.result import ProviderResult
from qatprep.crypto.signer import WrongResults
from qatprep.errors import QatprepError
from qatprep.facts import cpu as cpu_facts
from qatprep.facts.base import Unknown
from qatprep.facts.cpu import CpuFacts
from qatprep.host.base import Host
from qatprep.host.linux import LinuxHost
from qatprep.instruction_sets import AVX512_CPUS, envoy_build

BATCHES = 8
LANES = 8


class Provider(StrEnum):
    auto = "auto"
    qat = "qat"
    cryptomb = "cryptomb"
    openssl = "openssl"


@dataclass(frozen=True)
class SmokeReport:
    asked: str
    host: str
    results: tuple[ProviderResult, ...]
    verdict: str
    ok: bool
    """False when a provider that was asked for did not pass, or one that should work failed."""
    accelerated: tuple[str, ...] = ()
    """Providers other than plain software that passed."""

    @property
    def ran(self) -> bool:
        """Whether anything was signed at all: nothing is for a host that is not the running machine."""
        return any(result.state in ("passed", "failed") for result in self.results)


def run(provider: str, host: Host) -> SmokeReport:
    """Sign with `provider` (qat, cryptomb, openssl), or with everything the node has (auto).

    Nothing is signed for a host that is not the running machine. Raises nothing: trouble is in the report.
    """
    asked = Provider(provider)
    why_not = elsewhere(host)
    providers = (Provider.qat, Provider.cryptomb, Provider.openssl) if asked is Provider.auto else (asked,)
    if why_not:
        results = tuple(ProviderResult(p, "not run", f"not run: {why_not}") for p in providers)
        return SmokeReport(asked, host.label, results, f"nothing was signed: {why_not}", asked is Provider.auto)
    work = _work()
    if isinstance(work, ProviderResult):
        results = tuple(_unbuilt(p, host, work) for p in providers)
    else:
        results = tuple(_one(p, host, work) for p in providers)
    return judged(asked, host, results)


def elsewhere(host: Host) -> str:
    """Why an engine here would say nothing about that host; "" when the host is this machine."""
    if host.simulated:
        return "simulated host"
    if not isinstance(host, LinuxHost) or host.root != "/":
        return f"{host.label} is not the running machine"
    return ""


def _work() -> Work | ProviderResult:
    try:
        return make(KeyKind.RSA_2048, BATCHES * LANES)
    except QatprepError as e:
        return ProviderResult("", "unavailable", e.message, e.hint)


def _unbuilt(provider: Provider, host: Host, why: ProviderResult) -> ProviderResult:
    """Without the native module: what can be said and done all the same."""
    if provider is Provider.openssl:
        return _openssl_alone()
    if provider is Provider.qat:
        return smoke_qat.sign(host)
    return replace(why, provider=provider)


def _one(provider: Provider, host: Host, work: Work) -> ProviderResult:
    try:
        if provider is Provider.cryptomb:
            return _cryptomb(host, work)
        if provider is Provider.qat:
            return smoke_qat.sign(host)
        return _openssl(work)
    except (OSError, QatprepError, RuntimeError) as e:
        return ProviderResult(provider, "failed", f"the engine gave up: {e}")


def _cryptomb(host: Host, work: Work) -> ProviderResult:
    if missing := library.missing():
        summary, fix = why_no_cryptomb(cpu_facts.gather(host))
        return ProviderResult("cryptomb", "unavailable", summary or f"this machine lacks {missing}", fix)
    try:
        choice = library.choose(work)
    except WrongResults as e:
        return ProviderResult("cryptomb", "failed", e.message, e.hint)
    except QatprepError as e:
        return ProviderResult("cryptomb", "unavailable", e.message, e.hint)
    with contextlib.closing(choice.signer) as signer:
        results = signer.sign(work)
    evidence = ((choice.reason,) if choice.rates else ()) + tuple(f"refused: {said}" for said in choice.refused)
    return _checked("cryptomb", signer.title, work, results, "in batches of eight", evidence)


def _checked(
    provider: str, name: str, work: Work, results: list[bytes | None], how: str, evidence: tuple[str, ...]
) -> ProviderResult:
    import cryptography

    checker = f"cryptography {cryptography.__version__}"
    wrong = len(work.wrong(results))
    made = f"{len(results)} {work.kind.value.upper()} signatures {how}"
    return ProviderResult(
        provider,
        "failed" if wrong else "passed",
        f"{name}: {made}, {f'{wrong} WRONG' if wrong else 'all right'} ({checker})",
        library=name,
        key=work.kind,
        signatures=len(results),
        wrong=wrong,
        checked_by=checker,
        evidence=evidence,
    )


def _openssl(work: Work) -> ProviderResult:
    return _openssl_signed([work.sign(n) for n in range(len(work.messages))], work.messages, work.key)


def _openssl_alone() -> ProviderResult:
    """Without the native module: only what `cryptography` can do."""
    try:
        native.require_cryptography()
    except QatprepError as e:
        return ProviderResult("openssl", "unavailable", e.message, e.hint)
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = rsa.generate_private_key(65537, 2048)
    messages = tuple(b"qatprep %d" % n for n in range(LANES))
    return _openssl_signed([key.sign(m, padding.PKCS1v15(), hashes.SHA256()) for m in messages], messages, key)


def _openssl_signed(signatures: list[bytes], messages: tuple[bytes, ...], key: object) -> ProviderResult:
    """Judged by integer arithmetic: `cryptography` is the very thing that signed, so it cannot also be the judge."""
    import hashlib

    from cryptography.hazmat.backends.openssl import backend
    from cryptography.hazmat.primitives.asymmetric import rsa

    from qatprep.crypto.keys import pkcs1_padded

    assert isinstance(key, rsa.RSAPrivateKey)
    public = key.public_key().public_numbers()
    size = key.key_size // 8
    wrong = 0
    for signature, message in zip(signatures, messages, strict=True):
        opened = pow(int.from_bytes(signature, "big"), public.e, public.n).to_bytes(size, "big")
        wrong += opened != pkcs1_padded(hashlib.sha256(message).digest(), size)
    name = f"{backend.openssl_version_text()} of the Python package cryptography"
    made = f"{len(signatures)} RSA-{key.key_size} signatures one by one"
    return ProviderResult(
        "openssl",
        "failed" if wrong else "passed",
        f"{name}: {made}, {f'{wrong} WRONG' if wrong else 'all right'} (integer arithmetic)",
        library=name,
        key=f"rsa-{key.key_size}",
        signatures=len(signatures),
        wrong=wrong,
        checked_by="integer arithmetic",
    )


def why_no_cryptomb(cpu: CpuFacts) -> tuple[str, str]:
    """Why crypto_mb cannot run, naming the missing bits and who lacks them, and what to do; "" when it can."""
    if cpu.machine != "x86_64":
        return f"crypto_mb is x86-64 code; this is {cpu.machine}", ""
    if isinstance(cpu.bits, Unknown):
        return f"whether this CPU has what crypto_mb needs is not known ({cpu.bits.reason})", ""
    if isinstance(cpu.xcr0, Unknown):
        return f"whether the OS has switched AVX-512 on is not known ({cpu.xcr0.reason})", ""
    _, missing = cpu.judge(envoy_build(None).paths)
    names = ", ".join(bit.name for bit in missing if bit.register != "xcr0")
    if names and cpu.hypervisor is True:
        return f"this virtual CPU lacks {names}", "who can change that: qatprep doctor --profile cryptomb"
    if names:
        return f"this CPU lacks {names}", f"it takes another CPU: {AVX512_CPUS}"
    if missing:
        return (
            f"the CPU has the instructions, but the OS has not switched on {', '.join(bit.name for bit in missing)}",
            "a kernel argument, GDS or a hypervisor: qatprep doctor --profile cryptomb says which",
        )
    return "", ""


def judged(asked: Provider, host: Host, results: tuple[ProviderResult, ...]) -> SmokeReport:
    accelerated = tuple(r.provider for r in results if r.state == "passed" and r.provider != "openssl")
    failed = [r.provider for r in results if r.state == "failed"]
    if asked is Provider.auto:
        ok = not failed
        verdict = (
            f"this node can sign with {' and '.join(accelerated)}" if accelerated else "software only: no accelerator"
        )
    else:
        ok = results[0].state == "passed"
        verdict = f"{asked} works" if ok else f"{asked} does not work here"
    if failed and asked is Provider.auto:
        verdict = f"{' and '.join(failed)} failed; {verdict}"
    return SmokeReport(asked, host.label, results, verdict, ok, accelerated)
