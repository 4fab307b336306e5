"""The base of every error that bordnetz raises for an operator."""


class BordnetzError(Exception):
    """Something the operator can act on; the text says what, where and what to do next.

    The command line prints the text without a traceback and ends with ``exit_code``.
    """

    exit_code = 1
