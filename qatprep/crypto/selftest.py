"""Does a library sign rightly? Asked before anything is made of its speed: every kind of key, full and partial queues.

The keys are not secret: they are the same in every copy of qatprep, so that the question costs no time for new ones.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from qatprep.crypto.keys import KeyKind, Work, make, messages
from qatprep.errors import QatprepError

if TYPE_CHECKING:
    from qatprep.crypto.signer import Signer

MESSAGES = 11
"""A queue of eight and one of three."""

PRIMES = {
    KeyKind.RSA_2048: (
        int(
            "c25859b3b24ab9e4938da7f7feb7fd54e5c50bdce5e1e21d7c62e3e9e20bebcfe256e9b8c27f6f91d8f80d67c74c0d9b"
            "616348d4b24d32900f237190d686d9959e0fdfd95190ab12ea7ccc21e3f6dcf6c24bcac472db56c184e28c9a0cb6fd19"
            "91cf6336579ece3b4b2cf6d3d4fc772670dcbec27f65866ecb2dcaebe3786ef1",
            16,
        ),
        int(
            "b558cdf457c4c146e5aee5d856399a333ab9be0cb8686b73d7b773f76c798903301839fc6d5c071ab17587a14c3636d6"
            "b59cabc39483384c9dc3479bc1ff42601ded0d5dc774d63f328041023bfed11ffc8ea9dee3e50efda714dfc30b83c1f9"
            "111d7c1330a464964abd730e13b2e7aeeb3bc736db2ce951ebbdf16c5dcd5f85",
            16,
        ),
    ),
    KeyKind.RSA_3072: (
        int(
            "fc97c979e0296d296fb9a952449b1be1a7a700a81af833a07886701c6f0408f935b773a553b8c6719d80322f703d29c8"
            "647455e9d3d910d6c34aef7e6aabe8d376d68686d36141bdc5b0d2824b4f3391c0d555b79af26ba34b91e9aa9bc35ec9"
            "71acf8b5e0a492addf54444a3e1d2158f9c098b2563bc6b87e680fc8d94ec220c390563da62e63f5d1043e98ac2a80f5"
            "42523ab139af56848c383135d6f4e8f3ab660d9c2c623419d95b4bcdff4ba1185a8b6b8760bd2512dc3146947cd48995",
            16,
        ),
        int(
            "dc67a3487d033f8a78285e5b00afdfb12c6cebc8b49ae1803c85b32d6fc81b74a0423a3c2d8ea3651320d1afdde7382f"
            "06266662fb7bace0fe42b0273dac720953a955f87ac94e6ef03182501d30ffea5972f82c00723520a992c8e0148d33fa"
            "f0b4e783c3cfaec26e782ac5618bdbbc183ca8ec441f01588cebab7384808af494fbd7611e560cbb3c1ce7321b93c16d"
            "70b9b927038c4bfbe93ea4ef77b758cded9881b5028ea76dfbad28877fb38e95f202c03d9258148cb83fb747fd44b7a3",
            16,
        ),
    ),
    KeyKind.RSA_4096: (
        int(
            "dd735ab0b48bb6a375a143f5c3ab6966667fa4ccfef4e5f5cf95b8ebe7a760b49dad4b5387fce9d018070fde05881957"
            "f66f9fa225f7174655825cecedc5aafe73871abf645c4da3f9a9749280a5834751dcf2da73bef676d29cd44f94296050"
            "7bb760916e115ea409fd21f7d4e1135ec2cfeb9bf6b93b3426bf93cc10013083ebed3b5ff217b01988e946c3a5bf4123"
            "96536c36e49127968376795568300bb3c59fc16c35f8008a4a6778a98770402b9c7fbc2250a53b4d67f6f8ec347b97ee"
            "2538c69f654555c4eedffceb3076d7977b8e7a44f5c431c146fb0a35a249ad9a7cb54238ebe7cb0623ccb9a7173e85b2"
            "5715e5639e67d94dee70bfc15cc0a9bb",
            16,
        ),
        int(
            "c834547f7f9c96cf7886977ba966c8da8bcd7cbdcc570dd7a35cd411c5bec60a5ceb5851d15c6cf0348116e5c3e87439"
            "b3959fe1c6013eedd129edaad7cfb6b7cb0f03a5cbcd4a42ebdfc8992d5d08789dda49545772e54f476468f8f0c2f483"
            "f504dbc5e7cf02c758dd8a7f4fa9f5294160ce3610e7d5398270c0046b0945f7d863e9c96da6d38282396566922668c4"
            "63db6d2e8b1799646d69d1c90f2c31eacfd7979b70cb040aa5aa53a732fbd7adf60cbf2d423f2f826dbe977acf6a74c8"
            "efdf2a498c85efddd1480ffc4991f30183f16330c84ae06bcee445436565bd0785dd854efeee3055314c232c5560b810"
            "629b553c7fa741dbc526cfae790d0fc9",
            16,
        ),
    ),
}
"""p and q of the RSA keys."""


@cache
def work(kind: KeyKind) -> Work:
    """What is signed: with a fixed RSA key, or a new one on P-256."""
    if kind not in PRIMES:
        return make(kind, MESSAGES)
    from cryptography.hazmat.primitives.asymmetric import rsa

    p, q = PRIMES[kind]
    e = 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), public)
    return Work(kind, numbers.private_key(unsafe_skip_rsa_key_validation=True), messages(MESSAGES))


def wrong(signer: Signer, needed: KeyKind) -> str:
    """What is wrong with the library, or "". It may refuse a kind of key other than the `needed` one completely.

    A library that signs wrongly with any kind of key must not be trusted with another.
    """
    said = []
    for kind in KeyKind:
        asked = work(kind)
        try:
            results = signer.sign(asked)
        except QatprepError as e:
            return e.message
        if not any(results):
            if kind is needed:
                said.append(f"does not sign with {kind} here")
        elif count := len(asked.wrong(results)):
            said.append(f"{count} of {len(results)} {kind} signatures are WRONG")
    return f"{signer.title}: {', '.join(said)}" if said else ""
