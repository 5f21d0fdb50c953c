"""Prove that one QAT VF signs, through the kernel's VFIO interface alone: no libqat, no native module.

A userspace driver for one job. It opens a VF, speaks to the PF through the mailbox, sets up one ring pair, sends one
RSA-2048 request, compares the answer, and puts everything back. Each step that fails says its own cause. The register
writes are those of libqat, in the same order (docs/direct-proof.md lists the differences).

`prove.prove` proves one VF in this process. qatprep.crypto.prover does so in a process of its own.
"""
