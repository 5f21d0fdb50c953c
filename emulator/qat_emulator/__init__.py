"""qat-emulator: a QAT device of the fourth generation, in software. See README.md."""

VERSION = "0.1.0"
