"""Tools to hold one device backend against another: raw lists, random lists, an exact oracle."""
