"""Defines the only kind of error that the command line shows."""


class Problem(Exception):
    """A problem that the user can fix; its text is one line that says what is wrong and what to do."""
