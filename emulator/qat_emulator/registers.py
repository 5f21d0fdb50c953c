"""The registers that are modelled, by name, each group with the source file its numbers come from.

Sources: QL is intel/qatlib 26.08 (quickassist/...), K is Linux 6.12 (drivers/crypto/intel/qat/...). Offsets are bytes.
"""

from __future__ import annotations

# -- A VF: BAR 0, four bundles of ring registers ------------------------------------------------------------------
# QL lookaside/access_layer/src/qat_direct/include/adf_platform_{common,acceldev_common,acceldev_gen4}.h

VF_RINGS, VF_MAILBOX = 0, 2
"""The BARs of a VF: rings and mailbox."""
BUNDLES = 4
BUNDLE_SIZE = 0x2000
REQUESTS, ANSWERS = 0, 1
"""The two rings of a bundle."""

HEAD, TAIL, CONFIG, BASE_LOW, BASE_HIGH = 0x0C0, 0x100, 0x1000, 0x1040, 0x1080
"""One register a ring; ring r is 4 r further. CONFIG's low five bits give the size: 64 << n bytes."""
EMPTY_STATUS = 0x14C
"""Bit r is set while ring r is empty."""

RING_REGISTERS = {
    **{
        offset + 4 * ring: f"{name}{ring}"
        for offset, name in (
            (HEAD, "HEAD"),
            (TAIL, "TAIL"),
            (CONFIG, "CONFIG"),
            (BASE_LOW, "LBASE"),
            (BASE_HIGH, "UBASE"),
        )
        for ring in (REQUESTS, ANSWERS)
    },
    0x140: "RING_STAT",
    EMPTY_STATUS: "E_STAT",
    0x16C: "INT_EN",
    0x17C: "INT_COL_EN",
    0x180: "INT_COL_CTL",
    0x184: "FLAG_AND_COL",
    0x19C: "ARB_EN",
}

# -- A VF: BAR 2, the mailbox -------------------------------------------------------------------------------------
# QL .../qat_direct/adf_pfvf/adf_pfvf_{proto,vf_msg}.c, adf_pfvf_msg.h; K qat_common/adf_gen4_pfvf.c

MASK, PF2VF, VF2PF = 0x1004, 0x1008, 0x100C
MAILBOX_REGISTERS = {MASK: "MASK", PF2VF: "PF2VF", VF2PF: "VF2PF"}

# -- The PF ---------------------------------------------------------------------------------------------------------
# K qat_4xxx/adf_4xxx_hw_data.h, qat_common/adf_gen4_hw_data.h

SRAM, PMISC, PF_RINGS = 0, 2, 4
"""The BARs of a PF."""

PM_STATUS, POWERED_UP = 0x50A00C, 1 << 21
"""K qat_common/adf_gen4_pm.h"""
ADMIN_HIGH, ADMIN_LOW = 0x500574, 0x500578
"""Where the admin messages are in memory. K qat_common/adf_gen4_hw_data.h"""

ENGINES, ENGINE_SIZE, ENGINE_COUNT = 0x600000, 0x1000, 9
"""One block an engine. K qat_common/icp_qat_hal.h"""
ADMIN_DOORBELL = 0x970
CYCLES = 0x800 + 0x144
"""In an engine's block: PROFILE_COUNT of its local registers, which the loader waits for. K qat_common/qat_hal.c"""

FIRMWARE = 0x640000
FCU_CONTROL, FCU_STATUS, FCU_MASK, FCU_LOADED = (FIRMWARE + at for at in (0x1000, 0x1004, 0x1008, 0x1010))
"""The firmware control unit. K qat_common/icp_qat_hal.h, qat_uclo.c"""

VM2PF_SOURCE, VM2PF_MASK = 0x41A180, 0x41A1C0
PF2VM, VM2PF, VM_STRIDE = 0x40B010, 0x40B014, 0x20
"""The PF's end of the mailboxes, VF i at VM_STRIDE * i. K qat_common/adf_gen4_pfvf.c"""
MISC_VECTOR = 64
"""The MSI-X vector of mailboxes and errors. K qat_common/adf_gen4_hw_data.c"""

RESET_CONTROL, RESET_STATUS = 0x6000, 0x6004
"""Ring pair reset, 8 bytes a pair, in the ring BAR. K qat_common/adf_gen4_hw_data.h"""
RING_PAIRS = 64

ERRSOU0, ERRSOU1, ERRSOU2, ERRSOU3 = 0x41A200, 0x41A204, 0x41A208, 0x41A20C
AE_CORRECTABLE_LOG, AE_UNCORRECTABLE_LOG, COMMAND_PARITY_LOG = 0x41A308, 0x41A300, 0x41A310
"""Where errors are read and cleared (write 1). K qat_common/adf_gen4_ras.h"""
