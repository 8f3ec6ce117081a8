"""What every room uses: errors, files, folders, text, typed JSON."""
