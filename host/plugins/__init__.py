"""Policies, platforms, devices and models of other packages."""
