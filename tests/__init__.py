"""Tests of the installed package, against real servers on loopback."""
