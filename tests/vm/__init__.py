"""Tests that run qatprep on a real kernel: see README.md."""
