"""One RSA-2048 request, as the device's public key engines take it.

Sources: qatlib 26.08, firmware/include/icp_qat_fw_pke.h (request and answer), icp_qat_fw_mmp.h (operands and their
sizes), icp_qat_fw_mmp_ids.h (function numbers).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from qatprep.direct.result import Cause, Stop

SERVICE, VALID = 3, 0x80
"""ICP_QAT_FW_COMN_REQ_CPM_FW_PKE; ICP_QAT_FW_COMN_VALID_FLAG."""
RSA_DP2_2048 = 0x59121DFA
"""PKE_RSA_DP2_2048: m = c ^ d mod pq with the Chinese remainder theorem; operands c, p, q, dp, dq, qinv."""
FAILED, UNSUPPORTED = 1 << 6, 1 << 2
"""Bits of the answer's status: QAT_COMN_RESP_PKE_STATUS, ICP_QAT_FW_COMN_RESP_..._UNSUPPORTED_REQUEST."""
REQUEST_SIZE, ANSWER_SIZE = 64, 32
SIZE = 256
"""Bytes of a signature."""

# A key for this test alone: it protects nothing. Fixed, because a fresh one needs a library, or a second of Python.
P = int(
    "c881593e3fc684ea98497096057fd9999752f138eca5fd49bfdd8f5b5a7d35813f58fec740fcd8ba5d6599979f92c905a53827367690"
    "04e7bc36d4d61229f3a4a3b151293f5856e125ef225efa7c77d72635037a73083c343640db4a1f6c035804124652263b0f7640cea88f"
    "9e9c1a76d3ee54a304159e7a4ca9d3238fc18109",
    16,
)
Q = int(
    "b529d4dc213c0321e7ec73b6a986ba52ee5a520031f681b7fc0ca4603c59ba0f27b0b4542ac0ee417ea3d9877cee3a6648084f007cd5"
    "0ecedfa7131421d697b550fef9fc0e51556b8e8eb25609f64d5daf9c1614f6752398061244d050c01589556b605977ee680428612127"
    "4b466d205c899c0b65ea2203f27d032fc0445801",
    16,
)
N, E = P * Q, 65537
_D = pow(E, -1, (P - 1) * (Q - 1))
_KEY = ((P, 128), (Q, 128), (_D % (P - 1), 128), (_D % (Q - 1), 128), (pow(Q, -1, P), 128))


def operands(number: int) -> tuple[bytes, ...]:
    """What the request points to: big-endian numbers, each of the size its place has."""
    return tuple(value.to_bytes(size, "big") for value, size in ((number, SIZE), *_KEY))


def request(ticket: int, inputs: int, inputs_at: int, outputs_at: int) -> bytes:
    """64 bytes: `ticket` comes back in the answer; `inputs_at` and `outputs_at` are lists of addresses."""
    return struct.pack(
        "<xxBB16xIQQQBB6xQ", SERVICE, VALID, RSA_DP2_2048, ticket, inputs_at, outputs_at, 1, inputs, 0
    )  # 0: no request follows this one


class Answer(NamedTuple):
    service: int
    valid: int
    error: int
    """The engine's error code, signed."""
    status: int
    ticket: int


def read_answer(data: bytes) -> Answer:
    return Answer(*struct.unpack_from("<xxBBbBxxQ", data))


def check_answer(answer: Answer, ticket: int) -> None:
    """Stop(STRAY_ANSWER) unless it is the answer to our request, Stop(REFUSED) when the device refused it."""
    if answer.ticket != ticket or answer.service != SERVICE or not answer.valid & VALID:
        raise Stop(Cause.STRAY_ANSWER, service=answer.service, flags=answer.valid, status=answer.status)
    if answer.status & (FAILED | UNSUPPORTED):
        raise Stop(Cause.REFUSED, status=hex(answer.status), error=answer.error)


def check_signature(signature: int, number: int) -> None:
    """Stop(WRONG) unless it is the signature of `number`."""
    if signature >= N or pow(signature, E, N) != number:
        raise Stop(Cause.WRONG)
