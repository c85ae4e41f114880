"""Tests of `syncd.trust`."""
