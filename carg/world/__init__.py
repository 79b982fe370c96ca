"""Executable worlds: what a domain file says, run as truth behind its tools."""
