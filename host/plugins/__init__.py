"""Policies, platforms and models of other packages."""
