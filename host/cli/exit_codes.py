"""Exit codes of the commands; 0: all is well."""

#: A check failed: a result was wrong.
CHECK_FAILED = 1

#: Something that the user can mend.
ERROR = 2

#: Ctrl-C.
INTERRUPTED = 130
