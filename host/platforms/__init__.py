"""Platforms: their files, read and checked."""
