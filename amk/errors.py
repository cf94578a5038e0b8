"""The one exception for what a user can do wrong."""


class AmkError(Exception):
    """Bad input. The message is one line: subject first, lower case, numbers last, no full stop."""
