"""Defines the only kinds of errors that the command line shows."""


class Problem(Exception):
    """A problem that the user can fix; its text is one line that says what is wrong and what to do."""


class Common(Problem):
    """A problem that each process of a run finds, because all of them have the same settings, text and devices."""
